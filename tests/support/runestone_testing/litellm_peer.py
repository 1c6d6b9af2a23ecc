"""litellm as a child process in an environment of its own, made once from its own hashed lock.

It is held to older versions of what we test with, so the two cannot share one. The environment is
kept by the lock's content under ${XDG_CACHE_HOME:-~/.cache}/runestone/litellm.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = Path(__file__).parents[3] / "requirements" / "litellm.txt"
CHILD = Path(__file__).with_name("litellm_child.py")


def litellm_python() -> Path:
    """The interpreter of the environment, which is made where it is missing (20 s)."""
    known = f"{sys.version_info[:2]}".encode() + LOCK.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "runestone" / "litellm" / hashlib.sha256(known).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    made = folder / "made"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            venv.create(folder / "venv", clear=True, symlinks=True)
            pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
            options = ["--require-hashes", "--no-deps", "--disable-pip-version-check"]
            subprocess.run([*pip, *options, "-r", str(LOCK)], check=True)
            made.touch()
    return python


class Peer:
    def __init__(self, base_url: str, key: str, pipes: tuple[IO[str], IO[str]]) -> None:
        self._fields = {"api_base": base_url, "api_key": key, "custom_llm_provider": "anthropic"}
        self._stdin, self._stdout = pipes

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """What litellm makes of a chat request, its call of the provider included."""
        request = body | self._fields | {"drop_params": True, "max_retries": 0}
        self._stdin.write(json.dumps(request) + "\n")
        self._stdin.flush()
        answer: dict[str, Any] = json.loads(self._stdout.readline())
        return answer


@contextmanager
def running_litellm(base_url: str, key: str) -> Iterator[Peer]:
    process = subprocess.Popen(
        [str(litellm_python()), str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_PROXY": "*"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield Peer(base_url, key, (process.stdin, process.stdout))
        finally:
            process.kill()
