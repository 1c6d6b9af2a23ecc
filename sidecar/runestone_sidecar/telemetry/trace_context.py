"""W3C trace context (https://www.w3.org/TR/trace-context/): what a client sends along goes on to
the provider as it came, and its trace's id into the log. No span of ours is between the two yet."""

import re
from dataclasses import dataclass
from typing import Final

PARENT: Final = "traceparent"
STATE: Final = "tracestate"

_parent: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,200})?"
).fullmatch
_state: Final = re.compile(rb"[\x20-\x7e\t]{1,512}").fullmatch


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: str
    lines: bytes  # of a request's head


NO_TRACE: Final = TraceContext("", b"")


def read_trace(parent: bytes, state: bytes | None) -> TraceContext:
    """What is no trace context is as if there were none."""
    found = _parent(parent)
    if found is None or (found[1] == b"00" and found[3] is not None):
        return NO_TRACE
    lines = b"traceparent: %b\r\n" % parent
    if state is not None and _state(state):
        lines += b"tracestate: %b\r\n" % state
    return TraceContext(found[2].decode(), lines)
