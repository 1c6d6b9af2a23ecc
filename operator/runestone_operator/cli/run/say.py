"""What `runestone run` prints: its own words on stdout, the children's log on stderr.

Whoever read it may be gone: serving goes on.
"""

import contextlib
import sys
import time

from runestone_operator.cli.run.logline import readable


def say(message: str) -> None:
    write(f"{time.strftime('%H:%M:%S')} {message}")


def write(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


def tell(line: bytes) -> None:
    """One line of the sidecar's log, in words."""
    if (text := readable(line)) is not None:
        with contextlib.suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)


def pass_on(line: bytes) -> None:
    """One line of a child's log, as it is."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.buffer.write(line + b"\n")
        sys.stderr.buffer.flush()
