"""Legacy completions: what is checked, what becomes of each field, and what is said back."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from runestone_sidecar.errors import BadRequest, UpstreamFailed
from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import (
    BadReply,
    ModelTarget,
    Request,
    Untranslatable,
    Usage,
)
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.base import Traits
from runestone_sidecar.upstream.surfaces.codec import can_serve, codec_for
from runestone_sidecar.upstream.surfaces.completions import COMPLETIONS
from runestone_sidecar.upstream.surfaces.completions_fields import FIELDS, Carried, Refused
from runestone_sidecar.upstream.surfaces.embeddings import EMBEDDINGS

CHATS = frozenset({"Chat", "Streaming"})
COMPLETES = frozenset({"Completions", "Streaming"})
UNKNOWN: frozenset[str] = frozenset()
TARGET = ModelTarget("upstream-name", 4096)
TOLD = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

# Each field of the table with a value that asks for something
SAMPLES: dict[str, Any] = {
    "model": "m",
    "prompt": "Once upon",
    "max_tokens": 7,
    "n": 2,
    "stop": ["END"],
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 1.5,
    "frequency_penalty": -1,
    "logit_bias": {"50256": -100},
    "seed": 3,
    "user": "u",
    "stream": True,
    "stream_options": {"include_usage": True},
    "suffix": " the end",
    "echo": True,
    "best_of": 3,
    "logprobs": 0,
}


def asked(**fields: Any) -> Request:
    body = {"model": "m", "prompt": "Once upon"} | fields
    return Request(body, "m", body.get("stream") is True, "req_1", 1700000000, orjson.dumps(body))


def to_chat(**fields: Any) -> dict[str, Any]:
    return dict(COMPLETIONS.translator.to_chat(asked(**fields)).body)


def completion(*contents: str | None, reason: str = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-9",
        "object": "chat.completion",
        "created": 1700000001,
        "model": "served",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": content},
                "finish_reason": reason,
            }
            for index, content in enumerate(contents)
        ],
        "usage": TOLD,
    }


def events(said: bytes) -> list[Any]:
    found = [event.removeprefix(b"data: ") for event in said.split(b"\n\n") if event]
    return [None if event == b"[DONE]" else orjson.loads(event) for event in found]


def chat_chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "chatcmpl-9", "created": 5, "model": "served", "choices": [choice]} | more
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


# --- what the gateway reads


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"model": None}, "model", id="no-model"),
        pytest.param({"stream": 1}, "stream", id="stream-number"),
        pytest.param({"n": 0}, "n", id="no-choices"),
        pytest.param({"best_of": "3"}, "best_of", id="best-of-text"),
        pytest.param({"max_tokens": -1}, "max_tokens", id="negative-limit"),
        pytest.param({"max_tokens": 1.5}, "max_tokens", id="fractional-limit"),
        pytest.param({"stream_options": []}, "stream_options", id="options-array"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        COMPLETIONS.check(asked(**fields).body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="least"),
        pytest.param({"prompt": None}, id="no-prompt"),  # a model's own start
        pytest.param({"prompt": [[1, 2], [3]]}, id="tokens"),
        pytest.param({"max_tokens": 0, "echo": True, "logprobs": 5}, id="scoring"),
    ],
)
def test_what_only_the_provider_can_judge_is_left_to_it(fields: dict[str, Any]) -> None:
    COMPLETIONS.check(asked(**fields).body)


@pytest.mark.parametrize(
    ("fields", "traits"),
    [
        pytest.param({}, Traits(frozenset(), None, None), id="least"),
        pytest.param({"stream": True}, Traits(frozenset({"Streaming"}), None, None), id="stream"),
        pytest.param({"max_tokens": 9, "user": "u"}, Traits(frozenset(), 9, "u"), id="limit"),
        pytest.param(
            {"max_tokens": 9, "n": 2}, Traits(frozenset(), 18, None, choices=2), id="choices"
        ),
        pytest.param(
            {"max_tokens": 9, "n": 2, "best_of": 4},
            Traits(frozenset(), 36, None, choices=4),
            id="best-of",
        ),
        pytest.param(
            {"max_tokens": 9, "prompt": ["a", "b"]},
            Traits(frozenset(), 18, None, windows=2, choices=2),
            id="prompts",
        ),
        pytest.param(
            {"max_tokens": 9, "prompt": [1, 2, 3]}, Traits(frozenset(), 9, None), id="tokens"
        ),
        pytest.param(
            {"max_tokens": 9, "prompt": [[1, 2], [3]]},
            Traits(frozenset(), 18, None, windows=2, choices=2),
            id="token-arrays",
        ),
    ],
)
def test_traits(fields: dict[str, Any], traits: Traits) -> None:
    assert COMPLETIONS.traits(asked(**fields).body) == traits


@pytest.mark.parametrize(
    ("capabilities", "dialect", "path"),
    [
        pytest.param(COMPLETES, OpenAI(), b"/completions", id="states-completions"),
        pytest.param(UNKNOWN, OpenAI(), b"/completions", id="states-nothing"),
        pytest.param(CHATS, OpenAI(), b"/chat/completions", id="only-chats"),
        pytest.param(CHATS, Anthropic(), b"/v1/messages", id="anthropic"),
        pytest.param(UNKNOWN, Anthropic(), b"/v1/messages", id="anthropic-states-nothing"),
    ],
)
def test_where_it_is_asked(capabilities: frozenset[str], dialect: Any, path: bytes) -> None:
    assert can_serve(COMPLETIONS, dialect, capabilities)
    codec = codec_for(COMPLETIONS, dialect, capabilities)
    assert codec.render(asked(), TARGET).path == path


def test_model_that_only_embeds_completes_nothing() -> None:
    embeds = frozenset({"Embeddings"})
    assert not can_serve(COMPLETIONS, OpenAI(), embeds)
    assert can_serve(EMBEDDINGS, OpenAI(), embeds)
    assert not can_serve(EMBEDDINGS, Anthropic(), UNKNOWN)


# --- as a chat


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_table_does_what_it_says(name: str) -> None:
    field, value = FIELDS[name], SAMPLES[name]
    if isinstance(field, Carried):
        said = to_chat(**{name: value})
        if field.as_ is not None:
            assert said[field.as_] == value
        assert set(said) <= {f.as_ for f in FIELDS.values() if isinstance(f, Carried)} | {
            "messages",
            "stream_options",
        }
        return
    with pytest.raises(Untranslatable) as caught:
        to_chat(**{name: value})
    assert (caught.value.param, caught.value.message) == (name, field.why)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}-{value!r}")
        for name, field in FIELDS.items()
        for value in ((None, *field.neutral) if isinstance(field, Refused) else ())
    ],
)
def test_values_that_ask_for_nothing_are_no_objection(name: str, value: Any) -> None:
    assert to_chat(**{name: value}) == to_chat()


def test_unknown_field_is_refused_and_named() -> None:
    with pytest.raises(Untranslatable) as caught:
        to_chat(messages=[])
    assert caught.value.param == "messages"


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]], ids=["text", "one-text"])
def test_one_text_is_one_user_message(prompt: Any) -> None:
    assert to_chat(prompt=prompt)["messages"] == [{"role": "user", "content": "Once upon"}]


@pytest.mark.parametrize("prompt", [None, [], ["a", "b"], [1, 2], [[1, 2]]], ids=repr)
def test_other_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_chat(prompt=prompt)
    assert caught.value.param == "prompt"


def test_streamed_chat_is_asked_for_usage() -> None:
    assert to_chat(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in to_chat(stream_options={"include_usage": True})


def test_whole_answer() -> None:
    codec = codec_for(COMPLETIONS, OpenAI(), CHATS)
    codec.render(asked(), TARGET)
    reply = codec.read(asked(), orjson.dumps(completion("a time", "a pony", reason="length")))
    assert reply.usage == Usage(3, 2)
    assert orjson.loads(reply.body) == {
        "id": "chatcmpl-9",
        "object": "text_completion",
        "created": 1700000001,
        "model": "served",
        "choices": [
            {"text": "a time", "index": 0, "logprobs": None, "finish_reason": "length"},
            {"text": "a pony", "index": 1, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": TOLD,
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param({"content": None, "refusal": "I will not."}, "I will not.", id="refusal"),
        pytest.param({"content": None}, "", id="nothing"),
        pytest.param({"content": "é\u2028"}, "é\u2028", id="text"),
    ],
)
def test_what_was_said_is_the_text(message: dict[str, Any], text: str) -> None:
    chat = completion("x")
    chat["choices"][0]["message"] = message
    said = orjson.loads(COMPLETIONS.translator.read_chat(asked(), chat))
    assert said["choices"][0]["text"] == text


def test_answer_without_name_or_date_gets_ours() -> None:
    chat = completion("x")
    for name in ("id", "created", "model", "usage"):
        del chat[name]
    said = orjson.loads(COMPLETIONS.translator.read_chat(asked(), chat))
    assert (said["id"], said["created"], said["model"]) == ("cmpl-req_1", 1700000000, "m")
    assert "usage" not in said


@pytest.mark.parametrize(
    "chat",
    [{}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"message": None}]}],
    ids=repr,
)
def test_answer_that_is_none(chat: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        COMPLETIONS.translator.read_chat(asked(), chat)


@pytest.mark.parametrize("step", [1, 7, 10_000], ids=lambda step: f"by-{step}")
@pytest.mark.parametrize("usage", [False, True], ids=["plain", "with-usage"])
def test_stream(step: int, usage: bool) -> None:
    fields: dict[str, Any] = {"stream": True}
    if usage:
        fields["stream_options"] = {"include_usage": True}
    request = asked(**fields)
    codec = codec_for(COMPLETIONS, OpenAI(), CHATS)
    codec.render(request, TARGET)
    reader = codec.stream(request)
    sent = b"".join(
        (
            chat_chunk({"role": "assistant", "content": ""}),
            chat_chunk({"content": "a "}),
            chat_chunk({"content": "time"}),
            chat_chunk({}, "stop"),
            chat_chunk({}, choices=[], usage=TOLD),
            b"data: [DONE]\n\n",
        )
    )
    said = b"".join(reader.feed(sent[at : at + step]) for at in range(0, len(sent), step))
    *chunks, end = events(said + reader.finish())
    assert end is None
    assert [c["choices"][0]["text"] for c in chunks if c["choices"]] == ["", "a ", "time", ""]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]] == [
        None,
        None,
        None,
        "stop",
    ]
    assert {c["object"] for c in chunks} == {"text_completion"}
    assert [c["usage"] for c in chunks if "usage" in c] == ([None] * 4 + [TOLD] if usage else [])
    assert reader.usage == Usage(3, 2)


def test_stream_that_breaks_off_is_not_made_whole() -> None:
    codec = codec_for(COMPLETIONS, OpenAI(), CHATS)
    codec.render(asked(stream=True), TARGET)
    reader = codec.stream(asked(stream=True))
    said = reader.feed(chat_chunk({"content": "a "}))
    assert b"[DONE]" not in said
    with pytest.raises(BadReply):
        reader.finish()


def test_stream_from_anthropic() -> None:
    request = asked(stream=True)
    codec = codec_for(COMPLETIONS, Anthropic(), CHATS)
    codec.render(request, TARGET)
    reader = codec.stream(request)
    message = {"id": "msg_1", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}}
    block = {"type": "content_block_start", "index": 0}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {**block, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "a time"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens"},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    sent = b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), orjson.dumps(each)) for each in told
    )
    *chunks, end = events(reader.feed(sent) + reader.finish())
    assert end is None
    said = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in said) == "a time"
    assert said[-1]["finish_reason"] == "length"
    assert reader.usage == Usage(3, 2)


def test_errors_have_openais_shape() -> None:
    error = UpstreamFailed("It failed.")
    assert COMPLETIONS.error_body(error)["error"]["message"] == "It failed."
    frame = COMPLETIONS.translator.stream_chat(asked()).error_frame(error)
    assert frame == COMPLETIONS.error_frame(error, 3)
    assert re.fullmatch(rb'data: \{"error":.*\}\n\n', frame)
