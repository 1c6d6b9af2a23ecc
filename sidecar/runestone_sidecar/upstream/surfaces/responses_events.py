"""The events of a streamed response: framed, and numbered from 0 without a gap."""

from typing import Any

import orjson

from runestone_sidecar.errors import GatewayError
from runestone_sidecar.upstream.surfaces.envelope import envelope


class Events:
    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        data = orjson.dumps({"type": kind, "sequence_number": self._next, **fields})
        self._next += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def delta(self, opening: bytes, text: str, closing: bytes) -> bytes:
        """What nearly all events are, of parts that are rendered once; see `delta_opening`."""
        event = b'%b%b%b,"sequence_number":%d}\n\n' % (
            opening,
            orjson.dumps(text),
            closing,
            self._next,
        )
        self._next += 1
        return event

    def error(self, error: GatewayError) -> bytes:
        return error_event(error, self._next)


def delta_opening(kind: str, **fields: Any) -> bytes:
    """A delta's event up to the text."""
    head = orjson.dumps({"type": kind, **fields})[:-1]
    return b'event: %b\ndata: %b,"delta":' % (kind.encode(), head)


def error_event(error: GatewayError, sequence_number: int) -> bytes:
    """As OpenAI documents it, flat, and with the object `error` besides: by that its SDK raises.

    Without the object an SDK hands the event to a program that may not look for it.
    """
    nested = envelope(error)["error"]
    told = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": nested["code"],
        "message": nested["message"],
        "param": nested["param"],
        "error": nested,
    }
    return b"event: error\ndata: %b\n\n" % orjson.dumps(told)
