"""The bodies of requests: how large each may be, how much it may hold, and all of them together.

A body that finds no room is refused, not held up: those that wait for room would keep what they
have, and could wait for each other. A small one is not counted, so that it always finds room.
"""

import asyncio
import gc
from dataclasses import dataclass
from typing import Any, Final

import orjson

from runestone_sidecar.edge.json_values import FEW_VALUES, count_values
from runestone_sidecar.edge.request import (
    CYCLE,
    REFUSED,
    ClientGone,
    JsonBody,
    Receive,
    Scope,
    header,
    headers_of,
)
from runestone_sidecar.errors import BadRequest, BodyTooLarge, Overloaded, UnsupportedMedia

SMALL_BODY_BYTES: Final = 64 * 1024  # what a connection holds unasked
LARGE_BODY_BYTES: Final = 256 * 1024  # its values are counted
VALUE_BYTES: Final = 128  # of memory, beside its text

_NO_ROOM: Final = "The gateway holds too many large requests just now; send the request again."


@dataclass(frozen=True, slots=True)
class BodyBounds:
    body_bytes: int  # of one
    values: int  # in one: commas and opening brackets
    held_bytes: int  # of all that are held at a time


class Bodies:
    """One for a process."""

    def __init__(self, bounds: BodyBounds) -> None:
        self.held_bytes = 0
        self._bounds = bounds
        self._room_bytes = max(bounds.held_bytes, bounds.body_bytes)
        self._small_bytes = min(SMALL_BODY_BYTES, bounds.body_bytes)

    def take_json(self, scope: Scope) -> JsonBody | None:
        """Of a small request that has come whole, as most do; None: `read_json` it. Raises
        GatewayError."""
        cycle = scope.get(CYCLE)
        raw = None if cycle is None else cycle.take_body(self._small_bytes)
        if raw is None:
            return None
        _check_media(scope)
        return JsonBody(_decode(raw), raw)

    async def read_json(self, scope: Scope, receive: Receive) -> JsonBody:
        """Raises GatewayError or ClientGone."""
        _check_media(scope)
        hold = _Hold(self)
        raw = await self._read(scope, receive, hold)
        if not raw:
            raise BadRequest("The request has no body; send a JSON object.")
        if len(raw) <= LARGE_BODY_BYTES:
            return JsonBody(_decode(raw), raw)
        values = await count_values(raw, self._bounds.values)
        if values > self._bounds.values:
            raise BadRequest(f"The body holds more than {self._bounds.values} JSON values.")
        is_heavy = values > FEW_VALUES
        if is_heavy:
            hold.grow(len(raw) + VALUE_BYTES * values)
        value = _decode_large(raw)
        await asyncio.sleep(0)  # others had to wait for this
        return JsonBody(value, raw, is_heavy)

    def grow(self, more_bytes: int) -> None:
        """Raises Overloaded."""
        if self.held_bytes + more_bytes > self._room_bytes:
            raise Overloaded(_NO_ROOM)
        self.held_bytes += more_bytes

    async def _read(self, scope: Scope, receive: Receive, hold: "_Hold") -> bytes:
        limit_bytes = self._bounds.body_bytes
        length = int(header(scope, b"content-length") or 0)  # digits only: the parser saw to it
        if length > limit_bytes:
            raise _too_large(limit_bytes)
        if length > SMALL_BODY_BYTES and self.held_bytes + length > self._room_bytes:
            raise Overloaded(_NO_ROOM)  # before it is sent in vain
        message = await receive()
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise scope.get(REFUSED) or ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if size > SMALL_BODY_BYTES:
                hold.grow(size)
            if not message.get("more_body"):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)
            message = await receive()


class _Hold:
    """What one request has of the room, until its task ends: by then nothing refers to its body."""

    __slots__ = ("_bodies", "_held_bytes")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._held_bytes = 0

    def grow(self, held_bytes: int) -> None:
        """To so much. Raises Overloaded."""
        self._bodies.grow(held_bytes - self._held_bytes)
        if not self._held_bytes and (task := asyncio.current_task()) is not None:
            task.add_done_callback(self._release)
        self._held_bytes = held_bytes

    def _release(self, _: asyncio.Task[Any]) -> None:
        self._bodies.held_bytes -= self._held_bytes


def _check_media(scope: Scope) -> None:
    headers = headers_of(scope)
    media = headers.get(b"content-type")
    if media != b"application/json":
        kind, _, parameters = (media or b"").lower().partition(b";")
        charset = parameters.replace(b" ", b"").replace(b'"', b"")
        if kind.strip() != b"application/json" or charset not in {b"", b"charset=utf-8"}:
            raise UnsupportedMedia("Send Content-Type: application/json (UTF-8).")
    if headers.get(b"content-encoding") not in {None, b"identity"}:
        raise UnsupportedMedia("Send the body without Content-Encoding.")


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON (at character {error.pos}).") from error
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def _decode_large(raw: bytes) -> dict[str, Any]:
    """Among many thousand new lists the collector finds nothing, in four times as long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return _decode(raw)
    finally:
        if collects:
            gc.enable()


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit_bytes} bytes.")
