"""A streamed chat as a streamed response: golden transcripts, OpenAI's SDK, cuts and faults."""

from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.responses import ResponseErrorEvent
from pydantic import BaseModel

from runestone_sidecar.errors import UpstreamFailed
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.sse import SSEParser
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_sidecar.upstream.surfaces.responses_stream import ResponsesSink
from runestone_testing.golden import Golden
from runestone_testing.response_streams import REQUEST, events_of, read, sse, stream_of

FOLDER = Path(__file__).parent / "golden/responses/streams"
GOLDEN = [Golden(path) for path in sorted(FOLDER.glob("*.yaml"))]
IDS = [golden.path.stem for golden in GOLDEN]
CLAUDES = [
    Golden(path)
    for path in sorted((Path(__file__).parent.parent / "dialects/golden/streams").glob("*.yaml"))
]
LIFECYCLE = ("response.created", "response.in_progress", "response.completed")


def whole(golden: Golden) -> bytes:
    return sse(golden.given["chat"]) + b"data: [DONE]\n\n"


def request_of(golden: Golden) -> Request:
    request = golden.request
    body = {"input": "Hello", **request.body, "stream": True}
    return Request(body, request.model, True, request.request_id, request.created_s)


def shown(event: dict[str, Any]) -> dict[str, Any]:
    """Without what the replies' transcripts show already."""
    if "response" not in event:
        return event
    kept = ("status", "incomplete_details", "output", "usage", "service_tier")
    response = {name: event["response"][name] for name in kept if name in event["response"]}
    return {**event, "response": response}


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_golden_stream(golden: Golden) -> None:
    client, complete = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    assert complete
    golden.check([shown(event) for event in events_of(client)])


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_cuts_change_nothing(golden: Golden) -> None:
    given, request = whole(golden), request_of(golden)
    expected = read(stream_of(OpenAI(), request), [given])
    pieces = [given[i : i + 1] for i in range(len(given))]
    assert read(stream_of(OpenAI(), request), pieces) == expected
    for offset in range(len(given) + 1):
        halves = [given[:offset], given[offset:]]
        assert read(stream_of(OpenAI(), request), halves) == expected, offset


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_fault_c15_no_cut_makes_a_reply_look_whole(golden: Golden) -> None:
    given, request = whole(golden), request_of(golden)
    finished = given.index(b"}", given.index(b'"finish_reason":"'))
    for length in range(finished):
        client, complete = read(stream_of(OpenAI(), request), [given[:length]])
        assert not complete, length
        assert b"event: response.completed" not in client, length
        assert b"event: response.incomplete" not in client, length


@pytest.mark.parametrize("golden", CLAUDES, ids=[golden.path.stem for golden in CLAUDES])
def test_a_claude_stream_is_said_as_events(golden: Golden) -> None:
    stream = stream_of(Anthropic(), REQUEST)
    client, complete = read(stream, [golden.given["provider"].encode()])
    kinds = [event["type"] for event in events_of(client)]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert (kinds[-1] in ("response.completed", "response.incomplete")) is complete


def assembled(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat of which the chunks are the stream."""
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "message": message}
    chat: dict[str, Any] = {"id": chunks[0]["id"], "choices": [choice]}
    for chunk in chunks:
        chat |= {key: chunk[key] for key in ("usage", "service_tier") if chunk.get(key)}
        for part in chunk["choices"]:
            choice |= {key: part[key] for key in ("finish_reason", "logprobs") if part.get(key)}
            merge(message, part["delta"])
    return chat


def merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if isinstance(value, list):
            pieces = whole.setdefault(key, [])
            for piece in value:
                if piece["index"] == len(pieces):
                    pieces.append({})
                merge(pieces[piece["index"]], piece)
        elif isinstance(value, dict):
            merge(whole.setdefault(key, {}), value)
        elif isinstance(value, str) and key not in ("id", "type", "role"):
            whole[key] = whole.get(key, "") + value
        else:
            whole[key] = value


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_last_event_holds_what_a_whole_reply_does(golden: Golden) -> None:
    request = request_of(golden)
    client, _ = read(stream_of(OpenAI(), request), [whole(golden)])
    *_, last = events_of(client)
    completion = assembled(golden.given["chat"])
    assert last["response"] == orjson.loads(RESPONSES.translator.read_chat(request, completion))


def sdk_of(client: bytes) -> openai.OpenAI:
    """The SDK, of a gateway that answers so."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=client)

    transport = httpx2.MockTransport(answer)
    return openai.OpenAI(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport, trust_env=False)
    )


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_sdk_rebuilds_what_was_said(golden: Golden) -> None:
    client, _ = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    *_, last = events_of(client)
    with sdk_of(client).responses.stream(model="m", input="Hello") as stream:
        kinds = [event.type for event in stream]
        assert kinds[-1] == f"response.{last['response']['status']}"
        if kinds[-1] == "response.completed":
            final = stream.get_final_response().to_dict()["output"]
            assert without_parsed(final) == last["response"]["output"]


def without_parsed(value: Any) -> Any:
    """Without what the SDK adds."""
    if isinstance(value, list):
        return [without_parsed(each) for each in value]
    if isinstance(value, dict):
        return {
            key: without_parsed(each)
            for key, each in value.items()
            if key not in ("parsed", "parsed_arguments")
        }
    return value


class Person(BaseModel):
    name: str


def test_the_sdk_parses_a_structured_answer() -> None:
    golden = Golden(FOLDER / "json-schema.yaml")
    client, _ = read(stream_of(OpenAI(), request_of(golden)), [whole(golden)])
    responses = sdk_of(client).responses
    with responses.stream(model="m", input="Hello", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ann")


FRAMES = {
    "translated": lambda: ResponsesSink(REQUEST).error_frame(UpstreamFailed("Lost.", param="p")),
    "native": lambda: RESPONSES.error_frame(UpstreamFailed("Lost.", param="p"), 0),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_an_error_frame_makes_the_sdk_raise(frame: Any) -> None:
    with (
        pytest.raises(openai.APIError, match=r"Lost\.") as caught,
        sdk_of(frame()).responses.stream(model="m", input="Hello") as stream,
    ):
        stream.until_done()
    assert (caught.value.code, caught.value.param) == ("upstream_error", "p")
    (told,) = SSEParser().feed(frame())
    documented = ResponseErrorEvent.model_validate_json(told[1], strict=True)
    assert (documented.code, documented.message) == ("upstream_error", "Lost.")
