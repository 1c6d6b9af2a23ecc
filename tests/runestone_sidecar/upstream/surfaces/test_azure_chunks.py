"""Chunks of Azure's content filter, which say nothing to a client, in a chat that is translated."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.codec import codec_for
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.messages import Messages
from runestone_sidecar.upstream.surfaces.responses import RESPONSES

BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "responses": (RESPONSES, {"input": "Hello"}),
    "messages": (Messages(), {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}),
    "completions": (COMPLETIONS, {"prompt": "Hello"}),
}
SURFACES = pytest.mark.parametrize("surface", BODIES)

# The asynchronous filter's chunks are of no chat: without an id, a date or a model.
NAMELESS = {"id": "", "object": "", "created": 0, "model": ""}
RESULTS = {"hate": {"filtered": False, "severity": "safe"}}
TOLD = {
    "index": 0,
    "content_filter_results": RESULTS,
    "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
}
PROMPT = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": RESULTS}]}
FILTERS: dict[str, dict[str, Any]] = {
    "of the prompt": NAMELESS | PROMPT | {"choices": []},
    "of no choices": NAMELESS | PROMPT,
    "no delta": NAMELESS | {"choices": [TOLD | {"finish_reason": None}]},
    "delta null": NAMELESS | {"choices": [TOLD | {"finish_reason": None, "delta": None}]},
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "created": 5, "model": "served", "choices": [choice]}


CHAT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a "}),
    chunk({"content": "time"}),
    chunk({}, "stop"),
]


def said(surface: str, chunks: list[dict[str, Any]]) -> bytes:
    api, fields = BODIES[surface]
    request = Request({"model": "m", "stream": True} | fields, "m", True, "req_1", 1)
    codec = codec_for(api, OpenAI(), frozenset({"Chat"}))
    codec.render(request, ModelTarget("upstream", None))
    stream = codec.stream(request)
    events = [b"data: %b\n\n" % orjson.dumps(each) for each in chunks]
    out = [stream.feed(event) for event in [*events, b"data: [DONE]\n\n"]]
    return b"".join([*out, stream.finish()])


@SURFACES
@pytest.mark.parametrize("kind", FILTERS)
def test_what_the_filter_tells_changes_nothing(surface: str, kind: str) -> None:
    plain = said(surface, CHAT)
    assert b'"a "' in plain
    assert b'"time"' in plain
    first = 0 if kind == "of the prompt" else 1  # the text is judged after it was said
    for place in range(first, len(CHAT) + 1):
        chunks = [*CHAT[:place], FILTERS[kind], *CHAT[place:]]
        assert said(surface, chunks) == plain, place


@SURFACES
def test_what_the_filter_ends_is_ended(surface: str) -> None:
    cut = NAMELESS | {"choices": [TOLD | {"finish_reason": "content_filter"}]}
    expected = {
        "responses": b'"incomplete_details":{"reason":"content_filter"}',
        "messages": b'"stop_reason":"refusal"',
        "completions": b'"finish_reason":"content_filter"',
    }
    assert expected[surface] in said(surface, [*CHAT[:3], cut])


@pytest.mark.parametrize("surface", ["responses", "completions"])
@pytest.mark.parametrize("choices", [["x"], [{"index": 0, "delta": "x"}]], ids=str)
def test_what_is_no_chunk_is_none(surface: str, choices: Any) -> None:
    with pytest.raises(BadReply):
        said(surface, [*CHAT[:1], {"id": "c", "choices": choices}])
