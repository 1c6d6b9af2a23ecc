"""A refusal for what was asked or said: handed on in the client's terms, and asked nowhere else.

For every pair of client API and provider dialect, with a second provider that would answer.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from runestone_testing import provider as scripts
from runestone_testing.echo import completion, message
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.pairs import PAIRS, Pair, response, text_completion
from runestone_testing.provider import SSE, event, json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INVALID = "invalid_request_error"
CODES = {"content_filter", "content_policy_violation"}
AZURE = {"message": "It was filtered.", "type": None, "param": "prompt", "code": "content_filter"}
POLICY = {
    "message": "Not safe.",
    "type": INVALID,
    "param": None,
    "code": "content_policy_violation",
}
OPENROUTER = {
    "message": "Flagged.",
    "code": 403,
    "metadata": {"reasons": ["violence"], "flagged_input": "…"},
}
BLOCKED = {"type": INVALID, "message": "Output blocked by content filtering policy"}

OPENAI = [pair for pair in PAIRS if PAIRS[pair].dialect == "OpenAI"]
ANTHROPIC = [pair for pair in PAIRS if PAIRS[pair].dialect == "Anthropic"]
REFUSALS = [
    *(
        pytest.param(PAIRS[pair], json_reply({"error": error}, status=status), id=f"{pair}-{name}")
        for pair in OPENAI
        for name, status, error in (
            ("azure", 400, AZURE),
            ("policy", 400, POLICY),
            ("policy-403", 403, POLICY),
            ("openrouter", 403, OPENROUTER),
        )
    ),
    *(
        pytest.param(
            PAIRS[pair], json_reply({"type": "error", "error": BLOCKED}, status=400), id=pair
        )
        for pair in ANTHROPIC
    ),
]


@dataclass
class Asked:
    gateway: Gateway
    pair: Pair
    first: scripts.Provider
    second: scripts.Provider

    async def whole(self) -> httpx.Response:
        return await self.gateway.client.post(self.pair.api.path, json=self.pair.api.asked)

    async def streamed(self) -> list[dict[str, Any]]:
        """The events, as far as they came."""
        body = self.pair.api.asked | {"stream": True}
        said = b""
        async with self.gateway.client.stream("POST", self.pair.api.path, json=body) as answer:
            assert answer.status_code == 200
            with suppress(httpx.RemoteProtocolError):
                async for data in answer.aiter_bytes():
                    said += data
        texts = [each.rpartition(b"data: ")[2] for each in said.split(b"\n\n") if each]
        return [json.loads(text) for text in texts if text != b"[DONE]"]


@asynccontextmanager
async def asked(root: Path, pair: Pair, answer: scripts.Answer) -> AsyncIterator[Asked]:
    """Checks at the end that the one was asked once and the other never."""
    async with scripts.Provider(answer) as first, scripts.Provider(pair.whole()) as second:
        config = pair.config(f"{first.url}/v1", f"{second.url}/v1")
        async with gateway(root, config) as found:
            yield Asked(found, pair, first, second)
        assert (len(first.requests), len(second.requests)) == (1, 0)


def check_error(pair: Pair, told: dict[str, Any]) -> None:
    """In the client's envelope."""
    error = told["error"]
    if pair.api is PAIRS["messages-openai"].api:
        assert told["type"] == "error"
        assert error["type"] == INVALID
    else:
        assert error["code"] in CODES
        assert error["type"] == INVALID
    assert error["message"]


@pytest.mark.parametrize(("pair", "answer"), REFUSALS)
async def test_a_status_is_handed_on(tmp_path: Path, pair: Pair, answer: bytes) -> None:
    async with asked(tmp_path, pair, answer) as found:
        refused = await found.whole()
        assert refused.status_code == 400
        check_error(pair, refused.json())


def filtered(pair: Pair) -> dict[str, Any]:
    """A whole answer of which the provider says that it is cut."""
    if pair.dialect == "Anthropic":
        return message("") | {"stop_reason": "refusal", "content": []}
    if pair.native == "Responses":
        reason = {"incomplete_details": {"reason": "content_filter"}}
        return response("", "incomplete") | reason
    if pair.native == "Completions":
        return text_completion("", "content_filter")
    said = completion("")
    said["choices"] = [
        {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant"}}
    ]
    return said


def filtered_events(pair: Pair) -> list[bytes]:
    """The same in a stream, after a few words."""
    told = {
        b'"stop_reason": "end_turn"': b'"stop_reason": "refusal"',
        b'"finish_reason": "stop"': b'"finish_reason": "content_filter"',
    }
    events = pair.events()
    last = events[pair.finish()]
    for usual, cut in told.items():
        last = last.replace(usual, cut)
    if pair.native == "Responses":
        last = event({"type": "response.incomplete", "response": filtered(pair)})
    events[pair.finish()] = last
    return events


def reason_in(pair: Pair, told: dict[str, Any]) -> Any:
    """Why the client is told that it ended; None where nothing is said of it."""
    match pair.api.path:
        case "/messages":
            return told.get("delta", told).get("stop_reason")
        case "/responses":
            answer = told.get("response", told)
            if answer.get("status") != "incomplete":
                return None
            return answer["incomplete_details"]["reason"]
        case _:
            return told["choices"][0]["finish_reason"] if told.get("choices") else None


def wanted(pair: Pair) -> str:
    return "refusal" if pair.api.path == "/messages" else "content_filter"


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_whole_answer_says_so(tmp_path: Path, pair: Pair) -> None:
    async with asked(tmp_path, pair, json_reply(filtered(pair))) as found:
        answer = await found.whole()
        assert answer.status_code == 200
        assert reason_in(pair, answer.json()) == wanted(pair)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_stream_says_so(tmp_path: Path, pair: Pair) -> None:
    stream = scripts.chunked(*filtered_events(pair), content_type=SSE)
    async with asked(tmp_path, pair, stream) as found:
        reasons = [reason_in(pair, each) for each in await found.streamed()]
        assert [reason for reason in reasons if reason is not None] == [wanted(pair)]


def error_event(pair: Pair) -> bytes:
    if pair.dialect == "Anthropic":
        return event({"type": "error", "error": BLOCKED}, "error")
    if pair.native == "Responses":
        return event({"type": "error", "sequence_number": 3, **AZURE, "error": AZURE}, "error")
    return event({"error": AZURE})


@pytest.mark.parametrize("begun", [0, 3], ids=["at-once", "after-some-words"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_an_error_within_a_stream_is_handed_on(
    tmp_path: Path, pair: Pair, begun: int
) -> None:
    pieces = [*pair.events()[:begun], error_event(pair)]
    stream = scripts.chunked(*pieces, content_type=SSE)
    async with asked(tmp_path, pair, stream) as found:
        last = (await found.streamed())[-1]
        if pair is PAIRS["chat-openai"] or pair.native or pair.counted:
            assert last["error"]["code"] == "content_filter"  # the provider's own bytes
        else:
            check_error(pair, last)
