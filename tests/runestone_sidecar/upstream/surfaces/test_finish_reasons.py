"""Why vendors say that a chat ended, in all that is said by way of one."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import BadReply, Request
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.responses import RESPONSES

REQUEST = Request({"model": "m"}, "m", False, "req_1", 1)
ALL = (RESPONSES, Messages(), COMPLETIONS)

# the chat's word -> (status and reason of a response, stop reason of a message, of a completion)
ENDINGS = {
    "stop": (("completed", None), "end_turn", "stop"),
    "tool_calls": (("completed", None), "end_turn", "stop"),
    "function_call": (("completed", None), "end_turn", "stop"),
    "eos": (("completed", None), "end_turn", "stop"),  # Together
    "abc": (("completed", None), "end_turn", "stop"),
    "length": (("incomplete", "max_output_tokens"), "max_tokens", "length"),
    "model_length": (("incomplete", "max_output_tokens"), "max_tokens", "length"),  # Mistral
    "content_filter": (("incomplete", "content_filter"), "refusal", "content_filter"),
}


def chat(finish: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi"}
    return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def chunks(finish: Any) -> list[dict[str, Any]]:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": finish}
    return [{"id": "c", "choices": [each]} for each in (choice, last)]


def whole(surface: Any, finish: Any) -> Any:
    return orjson.loads(surface.translator.read_chat(REQUEST, chat(finish)))


def streamed(surface: Any, finish: Any) -> bytes:
    sink = surface.translator.stream_chat(REQUEST)
    return b"".join(map(sink.feed, chunks(finish))) + bytes(sink.finish())


@pytest.mark.parametrize(("finish", "said"), ENDINGS.items(), ids=ENDINGS)
def test_every_reply_that_ended_has_an_ending(finish: str, said: Any) -> None:
    (status, reason), stop_reason, finish_reason = said
    response = whole(RESPONSES, finish)
    assert (response["status"], (response["incomplete_details"] or {}).get("reason")) == said[0]
    assert b"event: response.%b\n" % status.encode() in streamed(RESPONSES, finish)
    assert reason is None or b'"reason":"%b"' % reason.encode() in streamed(RESPONSES, finish)
    assert whole(ALL[1], finish)["stop_reason"] == stop_reason
    assert b'"stop_reason":"%b"' % stop_reason.encode() in streamed(ALL[1], finish)
    assert whole(COMPLETIONS, finish)["choices"][0]["finish_reason"] == finish_reason
    assert b'"finish_reason":"%b"' % finish_reason.encode() in streamed(COMPLETIONS, finish)


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource"])
@pytest.mark.parametrize("surface", ALL, ids=lambda surface: str(surface.name))
def test_a_failure_is_no_ending(surface: Any, finish: str) -> None:
    for say in (whole, streamed):
        with pytest.raises(BadReply, match="failed"):
            say(surface, finish)


@pytest.mark.parametrize("surface", ALL[:2], ids=lambda surface: str(surface.name))
def test_no_ending_is_made_up(surface: Any) -> None:
    for say in (whole, streamed):
        with pytest.raises(BadReply):
            say(surface, None)
