"""JSON log lines on stdout, masked: nothing that looks like a key leaves by this door.

Fields given by `extra=` become fields of the line. Kopf speaks through here as well: what it says
about single handlers is left out, and a retry that it repeats for hours is told ever more rarely.
"""

import json
import logging
import re
import sys
import time
from typing import Any, Final, TextIO

_SECRET: Final = re.compile(r"(sk-[A-Za-z0-9_-]{5})[A-Za-z0-9_-]{4,}|(Bearer\s+)\S+", re.IGNORECASE)
_QUOTES: Final = re.compile(r"(exception=|[{\[]).*", re.DOTALL)
_QUOTING: Final = ("kopf", "asyncio")  # they quote objects, and an object may be a Secret
_FRAMES: Final = 40  # lines of a stack: where it broke is at its end
_ATTEMPT: Final = re.compile(r"Request attempt #(\d+)")
_BUILT_IN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def mask(text: str) -> str:
    """Keeps enough of a key to recognise it, never enough to use it."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", text)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name.startswith(_QUOTING):
            message = _QUOTES.sub("…", message)
        line: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(message),
        }
        fields = {key: value for key, value in vars(record).items() if key not in _BUILT_IN}
        if not record.name.startswith(_QUOTING):
            line |= {key: _masked(value) for key, value in fields.items()}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = mask(self._stack(record))
        return json.dumps(line, default=str, ensure_ascii=False)

    def _stack(self, record: logging.LogRecord) -> str:
        """Where it happened, and of what kind. An exception's text may quote what it choked on."""
        assert record.exc_info is not None
        stack = self.formatException(record.exc_info)
        kept = [line for line in stack.splitlines() if line.startswith(("Traceback", "  "))]
        return "\n".join([*kept[-_FRAMES:], getattr(record.exc_info[0], "__name__", "")])


def _masked(value: object) -> object:
    return mask(value) if isinstance(value, str) else value


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


class _RarerAndRarer(logging.Filter):
    """Of a request that is tried for ever, the 1st, 2nd, 4th, 8th … attempt."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = _ATTEMPT.match(record.getMessage())
        return found is None or int(found[1]).bit_count() == 1


def configure_logging(level: str, *, stream: TextIO = sys.stdout) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_RarerAndRarer())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("kopf", "aiohttp", "httpx", "httpcore", "kubernetes", "asyncio", "nats"):
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")
