"""Other programs, run and waited for: quiet when they succeed, whole output when they do not."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

POLL_S = 0.2


def say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def output(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, text: str | None = None
) -> str:
    """What the program put out; `text` is its input."""
    done = subprocess.run(
        [str(word) for word in argv],
        env=env,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        command = " ".join(str(word) for word in argv)
        raise ClusterError(f"{command}\nended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    words = [str(word) for word in argv]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def wait_until(
    is_so: Callable[[], bool], *, what: str, timeout_s: float, why_not: Callable[[], str]
) -> None:
    """Poll; `why_not` is asked what to tell when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise ClusterError(f"{what}: not within {timeout_s:.0f} s\n{why_not()}")
        time.sleep(POLL_S)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Tell how long something took: the sum of them is what a run takes."""
    began_s = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - began_s:.1f} s")
