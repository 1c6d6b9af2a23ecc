"""A whole chat as a Response: golden transcripts that OpenAI's own types take, and bad replies."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from runestone_sidecar.errors import RateLimited
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import BadReply, ModelTarget, Request, Usage
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.codec import codec_for
from runestone_sidecar.upstream.surfaces.responses import RESPONSES
from runestone_testing.golden import Golden

FOLDER = Path(__file__).parent / "golden/responses/replies"
GOLDEN = [Golden(path) for path in sorted(FOLDER.glob("*.yaml"))]
IDS = [golden.path.stem for golden in GOLDEN]
REQUEST = Request({"model": "m", "input": "Hello"}, "m", False, "req_1", 1_700_000_000)
TARGET = ModelTarget("upstream", 100)


def read(completion: dict[str, Any], request: Request = REQUEST) -> dict[str, Any]:
    response = orjson.loads(RESPONSES.translator.read_chat(request, completion))
    Response.model_validate_json(orjson.dumps(response), strict=True)
    return response  # type: ignore[no-any-return]


def completion(**choice: Any) -> dict[str, Any]:
    whole = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"} | choice
    return {"id": "c", "choices": [whole]}


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_golden_reply(golden: Golden) -> None:
    response = read(golden.given["chat"], golden.request)
    golden.check(response)
    ids = [item["id"] for item in response["output"]]
    assert len(set(ids)) == len(ids)
    assert all(len(id_) <= 64 for id_ in [response["id"], *ids]), "OpenAI takes no longer ones"


def test_a_reply_by_way_of_each_dialect() -> None:
    chat = completion() | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    message = {
        "id": "msg_1",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    for dialect, body in ((OpenAI(), chat), (Anthropic(), message)):
        codec = codec_for(RESPONSES, dialect, frozenset({"Chat"}))
        codec.render(REQUEST, TARGET)
        reply = codec.read(REQUEST, orjson.dumps(body))
        assert Response.model_validate_json(reply.body, strict=True).output_text == "Hi"
        assert reply.usage == Usage(3, 2)


def test_ids_differ_between_replies() -> None:
    # Clients choose request ids, and some vendors count small numbers: neither alone will do.
    another = Request(REQUEST.body, "m", False, "req_2", 1)
    replies = [
        read(completion() | {"id": "1"}),
        read(completion() | {"id": "2"}),
        read(completion() | {"id": "1"}, another),
        read(completion() | {"id": None}),
    ]
    assert len({reply["id"] for reply in replies}) == len(replies)
    assert len({reply["output"][0]["id"] for reply in replies}) == len(replies)
    assert read(completion()) == read(completion()), "and are no matter of chance"


def call(**fields: Any) -> dict[str, Any]:
    return completion(message={"tool_calls": [fields]})


@pytest.mark.parametrize(
    "function",
    [{"name": "f", "arguments": None}, {"name": "f"}, {"name": "f", "arguments": ""}],
    ids=["null", "none", "empty"],
)
def test_a_call_without_arguments_has_none(function: dict[str, Any]) -> None:
    chat = call(id="c", function=function)
    assert read(chat)["output"][0]["arguments"] == "{}"
    chat["choices"][0]["finish_reason"] = "length"
    cut = read(chat)["output"][0]
    assert (cut["status"], cut["arguments"]) == ("incomplete", "")


@pytest.mark.parametrize(
    "chat",
    [
        pytest.param({}, id="no choices"),
        pytest.param({"choices": []}, id="empty choices"),
        pytest.param({"choices": [{"finish_reason": "stop"}]}, id="no message"),
        pytest.param(completion(finish_reason=None), id="no finish reason"),
        pytest.param(completion(finish_reason="error"), id="a failure"),
        pytest.param(completion(message={"content": 5}), id="content of a number"),
        pytest.param(completion(message={"content": [{"type": "image"}]}), id="unknown part"),
        pytest.param(completion(message={"refusal": {}}), id="refusal of an object"),
        pytest.param(completion(message={"thinking_blocks": ["x"]}), id="thinking of a text"),
        pytest.param(completion(message={"tool_calls": {}}), id="calls of an object"),
        pytest.param(call(id="c", function={"arguments": "{}"}), id="call without a name"),
        pytest.param(call(id="c", function={"name": "f", "arguments": {}}), id="arguments"),
        pytest.param(call(id="c"), id="call of nothing"),
    ],
)
def test_a_reply_is_never_made_up(chat: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        read(chat)


def test_errors_are_openais() -> None:
    error = RateLimited("Slow down.", param="input")
    assert RESPONSES.error_body(error) == {
        "error": {
            "message": "Slow down.",
            "type": "rate_limit_error",
            "param": "input",
            "code": "rate_limit_exceeded",
        }
    }
