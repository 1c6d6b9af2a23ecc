"""Images and files of tool results, in a chat that another API's request was said as."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.anthropic import Anthropic
from runestone_sidecar.upstream.dialects.base import Codec, ModelTarget, Request
from runestone_sidecar.upstream.dialects.openai import OpenAI
from runestone_sidecar.upstream.surfaces.codec import codec_for
from runestone_sidecar.upstream.surfaces.responses import RESPONSES

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}
ASKED = {"role": "user", "content": "Hello"}
DONE = {"role": "assistant", "content": "Done"}


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def result(*parts: Any, id_: str = "a") -> dict[str, Any]:
    content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)
    return {"role": "tool", "tool_call_id": id_, "content": content}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


# id -> (messages, what is sent, which of the messages each is)
CHATS: dict[str, tuple[list[Any], list[Any], tuple[int | None, ...]]] = {
    "the last": (
        [ASKED, result(IMAGE)],
        [ASKED, result("[attachment 1]"), user(text("[attachment 1]"), IMAGE)],
        (0, 1, None),
    ),
    "with text": (
        [result(text("Before"), IMAGE, text(""), text("After"))],
        [result("Before\n\n[attachment 1]\n\nAfter"), user(text("[attachment 1]"), IMAGE)],
        (0, None),
    ),
    "of several results": (
        [result(IMAGE, FILE), result("OK", id_="b"), result(IMAGE, id_="c"), DONE],
        [
            result("[attachment 1]\n\n[attachment 2]"),
            result("OK", id_="b"),
            result("[attachment 3]", id_="c"),
            user(
                *(text("[attachment 1]"), IMAGE),
                *(text("[attachment 2]"), FILE),
                *(text("[attachment 3]"), IMAGE),
            ),
            DONE,
        ],
        (0, 1, 2, None, 3),
    ),
    "and the user speaks": (
        [result(IMAGE), ASKED],
        [result("[attachment 1]"), user(text("[attachment 1]"), IMAGE, text("Hello"))],
        (0, None),
    ),
    "and the user shows": (
        [result(IMAGE), user(text("And"), FILE)],
        [result("[attachment 1]"), user(text("[attachment 1]"), IMAGE, text("And"), FILE)],
        (0, None),
    ),
    "of two turns": (
        [result(IMAGE), DONE, result(FILE, id_="b"), DONE],
        [
            *(result("[attachment 1]"), user(text("[attachment 1]"), IMAGE), DONE),
            *(result("[attachment 1]", id_="b"), user(text("[attachment 1]"), FILE), DONE),
        ],
        (0, None, 1, 2, None, 3),
    ),
    "none": ([result(text("A"), text("B")), DONE], [result(text("A"), text("B")), DONE], ()),
    "of a user": ([user(IMAGE)], [user(IMAGE)], ()),
}


@pytest.mark.parametrize(("messages", "sent", "origins"), CHATS.values(), ids=CHATS)
def test_what_a_tool_message_cannot_hold_follows_it(
    messages: list[Any], sent: list[Any], origins: tuple[int | None, ...]
) -> None:
    body = {"model": "m", "messages": messages}
    before = orjson.dumps(body)
    request = Request(body, "m", False, "r", 1)
    rendered = OpenAI().chat.render(request, ModelTarget("m", None))
    assert orjson.loads(rendered.body)["messages"] == sent
    assert rendered.origins == origins
    assert orjson.dumps(body) == before, "the request is shared by all attempts"


OUTPUT = [
    {"type": "input_text", "text": "Here"},
    {"type": "input_image", "image_url": "https://example.com/a.png"},
]
RESPONSE = {
    "model": "m",
    "input": [
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": OUTPUT},
    ],
}


def said(dialect: OpenAI | Anthropic) -> Any:
    codec: Codec = codec_for(RESPONSES, dialect, frozenset({"Chat"}))
    request = Request(RESPONSE, "m", False, "r", 1)
    return orjson.loads(codec.render(request, ModelTarget("m", 99)).body)["messages"][1:]


def test_a_response_shows_an_image_of_a_tool_to_each_provider_in_its_way() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert said(OpenAI()) == [
        result("Here\n\n[attachment 1]"),
        user(text("[attachment 1]"), image),
    ]
    (turn,) = said(Anthropic())
    source = {"type": "url", "url": "https://example.com/a.png"}
    assert turn["content"][0]["content"] == [text("Here"), {"type": "image", "source": source}]
