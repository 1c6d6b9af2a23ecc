"""What a client gets for one request in any of the APIs, and what it can make of it.

Reads event streams by itself, in all their spellings: nothing of the product's is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from runestone_testing.pairs import Api, Pair
    from runestone_testing.stand import Stand

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Heard:
    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool  # the message has ended as HTTP has it

    @property
    def status_code(self) -> int:
        return self.status

    @property
    def content(self) -> bytes:
        return self.body


async def ask(
    stand: Stand, pair: Pair, *, stream: bool = False, within_s: float = PATIENCE_S
) -> Heard:
    """One request on a connection of its own, and all that comes until that is closed."""
    wire = await Wire.connect(stand.gateway.port)
    try:
        wire.send(pair.request(stream=stream))
        return understood(await wire.closed(within_s=within_s))
    finally:
        await wire.close()


def understood(said: bytes) -> Heard:
    head, _, rest = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    status = int(first.split(" ")[1])
    if "content-length" in headers:
        return Heard(status, headers, rest, len(rest) == int(headers["content-length"]))
    body, is_whole = b"", False
    while rest and not is_whole:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        is_whole = length == 0 and rest == b"\r\n"
        body, rest = body + rest[:length], rest[length + 2 :]
    return Heard(status, headers, body, is_whole)


def events_in(body: bytes) -> list[Any]:
    """The data of each whole event, decoded, or as a text where it is no JSON."""
    text = body.decode(errors="replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found: list[Any] = []
    for event in text.split("\n\n")[:-1]:
        lines = [line.partition(":") for line in event.split("\n")]
        data = "\n".join(value.removeprefix(" ") for name, _, value in lines if name == "data")
        if data:
            try:
                found.append(json.loads(data))
            except ValueError:
                found.append(data)
    return found


def text_of(api: Api, heard: Heard, *, stream: bool) -> str:
    """What the model wrote, without blanks: stand-ins put them where they like."""
    told = _streamed(heard.body) if stream else _whole(api, json.loads(heard.body))
    return "".join(told.split())


def _whole(api: Api, answer: Any) -> str:
    if api.path == "/messages":
        return "".join(block["text"] for block in answer["content"])
    if api.path == "/responses":
        parts = [part for item in answer["output"] for part in item.get("content", ())]
        return "".join(part["text"] for part in parts)
    (choice,) = answer["choices"]
    return str(choice["text"] if api.path == "/completions" else choice["message"]["content"])


def _streamed(body: bytes) -> str:
    return "".join(_piece(event) for event in events_in(body) if isinstance(event, dict))


def _piece(event: dict[str, Any]) -> str:
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text", ""))
    choice: dict[str, Any] = next(iter(event.get("choices", ())), {})
    return str(choice.get("text") or choice.get("delta", {}).get("content") or "")


def check_whole(pair: Pair, heard: Heard, text: str, *, stream: bool) -> None:
    """A complete answer of this text."""
    assert heard.status == 200, heard
    assert heard.is_whole, heard
    assert text_of(pair.api, heard, stream=stream) == "".join(text.split()), heard
    if stream:
        assert pair.api.whole in heard.body, heard
        assert error_of(heard) is None, heard


def check_cut(pair: Pair, heard: Heard) -> dict[str, Any]:
    """A stream that was lost, and says so: no end of any kind. Gives the error."""
    assert heard.status == 200, heard
    assert pair.api.whole not in heard.body, heard.body[-500:]
    assert not any(told in heard.body for told in pair.api.finished), heard.body[-500:]
    assert not heard.is_whole, heard.body[-500:]
    error = error_of(heard)
    assert error is not None, heard.body[-500:]
    return error


def error_of(heard: Heard) -> dict[str, Any] | None:
    """What the last event says went wrong."""
    last = next(iter(events_in(heard.body)[-1:]), None)
    error = last.get("error") if isinstance(last, dict) else None
    return error if isinstance(error, dict) else None


def refusal_of(pair: Pair, heard: Heard, status: int) -> dict[str, Any]:
    """Checks the status and the API's own envelope; gives the error."""
    assert heard.status == status, heard
    assert heard.is_whole, heard
    assert heard.headers["content-type"] == "application/json"
    body = json.loads(heard.body)
    error: dict[str, Any] = body["error"]
    if pair.api.path == "/messages":
        assert list(body) == ["type", "error"], body
        assert body["type"] == "error"
        assert set(error) == {"type", "message"}, body
    else:
        assert list(body) == ["error"], body
        assert set(error) == {"message", "type", "param", "code"}, body
    assert isinstance(error["type"], str)
    assert isinstance(error["message"], str)
    assert error["message"]
    return error
