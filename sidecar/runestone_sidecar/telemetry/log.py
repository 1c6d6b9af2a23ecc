"""JSON log lines on stdout: one door, so that masking and cost are decided in one place.

Access lines bypass `logging` (20 µs a call) and leave in batches, so that a slow reader of stdout
is met once for many requests. Everything else goes through `logging` with the same shape.
"""

import asyncio
import logging
import os
import re
import time
from typing import Any, Final

import orjson

FLUSH_AFTER_S: Final = 0.05
FLUSH_AT_LINES: Final = 64  # more would have left the CPU's cache before they are rendered

_SECRET: Final = re.compile(r"(sk-[A-Za-z0-9_-]{5})[A-Za-z0-9_-]{4,}|(Bearer\s+)\S+", re.IGNORECASE)


def mask(text: str) -> str:
    """Keeps enough of a key to recognise it, never enough to use it."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", text)


class LineWriter:
    """Collects what lines are of, renders them together and hands them to one write; `flush` at the
    end of the process. What it was given must not change any more."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._records: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        if len(self._records) >= FLUSH_AT_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines = [orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in self._records]
        data = memoryview(b"".join(lines))
        self._records.clear()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            return  # whoever read stdout is gone: serving goes on


class JsonFormatter(logging.Formatter):
    """`logging` records in the shape of the access lines, masked."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = mask(self.formatException(record.exc_info))
        return orjson.dumps(entry, default=str).decode()


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


class _NotOurAbnormalClose(logging.Filter):
    """A stream is cut short on purpose where its upstream was lost; uvicorn calls it an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler(os.fdopen(1, "w", closefd=False, buffering=1))
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_NotOurAbnormalClose())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        quiet = logging.getLogger(name)
        quiet.handlers.clear()
        quiet.propagate = True
        quiet.setLevel("DEBUG" if level == "debug" else "WARNING")
    logging.getLogger("uvicorn.access").disabled = True


_MILLISECONDS: Final = tuple(f".{number:03d}Z" for number in range(1000))


class Clock:
    """Formats the current second once: the access line's time stamp costs a comparison."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def stamp(self, seconds: float) -> str:
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._text + _MILLISECONDS[int((seconds - second) * 1000)]
