"""The sidecar's JSON log lines as a person in front of a terminal wants them."""

import json
from datetime import datetime
from typing import Any, Final

OWN_REQUEST_ID: Final = "runestone-run"  # what we ask ourselves is nobody's request
_QUIET: Final = ("debug", "info")


def readable(line: bytes) -> str | None:
    """None for a line that says nothing that we have not said already."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return _printable(line.decode(errors="replace"))
    at = _local_time(str(record.get("time", "")))
    if record.get("message") == "request":
        is_own = record.get("request_id") == OWN_REQUEST_ID
        return None if is_own else _printable(f"{at} {_request(record)}")
    if record.get("level") in _QUIET:
        return None
    said = f"{at} {record.get('level')}: {record.get('message')}"
    return "\n".join(map(_printable, [said, *str(record.get("exception", "")).splitlines()]))


def _local_time(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "--:--:--"


def _request(record: dict[str, Any]) -> str:
    what = f"{record.get('method')} {record.get('path')}"
    if record.get("provider"):
        what = f"{record.get('model') or what} -> {record['provider']}"
    elif record.get("model"):
        what = f"{what} for {record['model']}"
    parts = [f"{record.get('status')} {what}, {record.get('duration_ms')} ms"]
    if "input_tokens" in record:
        parts.append(f"{record['input_tokens']} tokens in, {record['output_tokens']} out")
    parts += [f"{record[name]}" for name in ("error", "interrupted") if name in record]
    if "api_key" in record:
        parts.append(f"ApiKey {record['api_key']}")
    return ", ".join(parts)


def _printable(text: str) -> str:
    """A client chose the path: it shall not move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
