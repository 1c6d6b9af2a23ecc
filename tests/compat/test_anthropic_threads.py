"""Anthropic's SDK keeps a conversation at its provider, and goes by the codes of its refusals."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from anthropic import beta_async_tool
from anthropic.types import ThreadAlreadyContinuedError, ThreadNotFoundError, ToolNameConflictError

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway
from runestone_testing.pairs import MODEL, PAIRS
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INVALID = "invalid_request_error"


@asynccontextmanager
async def answering(
    root: Path, *answers: bytes, pair: str = "messages-anthropic"
) -> AsyncIterator[tuple[str, list[scripts.Request]]]:
    """The address of a gateway before a provider that gives these, and what that was asked."""
    left = list(answers)
    async with scripts.Provider(lambda _: left.pop(0)) as provider:
        async with gateway(root, PAIRS[pair].config(f"{provider.url}/v1")) as found:
            yield f"http://127.0.0.1:{found.port}", provider.requests
    assert not left


def client_of(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=bundles.CLIENT_KEY, max_retries=0)


def refusal(status: int, kind: str, code: str, **more: Any) -> bytes:
    details = {"error_code": code, **more}
    error = {"type": kind, "message": "The provider says no.", "details": details}
    return json_reply({"type": "error", "error": error, "request_id": "req_1"}, status=status)


def message(*content: dict[str, Any], stop: str = "end_turn") -> bytes:
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return json_reply(reply)


CALL = message({"type": "tool_use", "id": "t", "name": "look", "input": {}}, stop="tool_use")
LAST = message({"type": "text", "text": "It rains."})


@beta_async_tool
async def look() -> str:
    """Looks out of the window."""
    return "rain"


async def run_tool(root: Path, *answers: bytes) -> list[scripts.Request]:
    """What a provider that gives these was asked, until the turn of the model's was over."""
    async with answering(root, *answers) as (url, requests):
        async with client_of(url) as client:
            runner = client.beta.messages.tool_runner(
                model=MODEL,
                max_tokens=9,
                tools=[look],
                messages=[{"role": "user", "content": "Does it rain?"}],
            )
            last = await runner.until_done()
    assert last.stop_reason == "end_turn"
    return requests


@pytest.mark.parametrize(
    ("answers", "threads"),
    [
        pytest.param([CALL, LAST], ["create", "continue"], id="kept"),
        pytest.param(
            [CALL, refusal(404, "not_found_error", "thread_not_found"), LAST],
            ["create", "continue", "create"],
            id="404-lost",
        ),
        pytest.param(
            [CALL, refusal(409, "conflict_error", "thread_already_continued"), LAST],
            ["create", "continue", "create"],
            id="409-continued",
        ),
        pytest.param(
            [refusal(400, INVALID, "thread_unsupported_request", unsupported=["x"]), CALL, LAST],
            ["create", None, None],
            id="400-unsupported",
        ),
    ],
)
async def test_the_tool_runner_mends_its_thread(
    tmp_path: Path, answers: list[bytes], threads: list[str | None]
) -> None:
    requests = await run_tool(tmp_path, *answers)
    sent = [json.loads(request.body).get("thread") for request in requests]
    assert [thread and thread["type"] for thread in sent] == threads


async def test_the_tool_runner_resumes_a_turn_that_paused(tmp_path: Path) -> None:
    """It has nothing to say then."""
    paused = message({"type": "text", "text": "I look."}, stop="pause_turn")
    requests = await run_tool(tmp_path, paused, LAST)
    body = json.loads(requests[-1].body)
    assert (body["messages"], body["thread"]["type"]) == ([], "continue")


async def test_a_thread_without_messages_is_found_nowhere_else(tmp_path: Path) -> None:
    thread: Any = {"type": "continue", "previous_message_id": "msg_1"}
    async with answering(tmp_path, pair="messages-openai") as (url, _):
        async with client_of(url) as client:
            with pytest.raises(ThreadNotFoundError):
                await client.beta.messages.create(
                    model=MODEL, max_tokens=9, messages=[], thread=thread
                )


@pytest.mark.parametrize("thread", [None, {"type": "create"}, "continue"], ids=str)
async def test_what_begins_a_conversation_needs_messages(tmp_path: Path, thread: Any) -> None:
    async with answering(tmp_path) as (url, _):
        async with client_of(url) as client:
            with pytest.raises(anthropic.BadRequestError, match="at least one message"):
                await client.beta.messages.create(
                    model=MODEL, max_tokens=9, messages=[], thread=thread
                )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(refusal(400, INVALID, "tool_name_conflict"), ToolNameConflictError, id="400"),
        pytest.param(
            refusal(400, INVALID, "thread_already_continued"),
            ThreadAlreadyContinuedError,
            id="400-conflict",
        ),
        pytest.param(
            refusal(409, "conflict_error", "thread_already_continued"),
            anthropic.ConflictError,
            id="409",
        ),
        pytest.param(
            refusal(422, INVALID, "another"), anthropic.UnprocessableEntityError, id="422"
        ),
    ],
)
async def test_what_a_provider_says_of_the_cause_is_told(
    tmp_path: Path, answer: bytes, kind: type[anthropic.APIStatusError]
) -> None:
    async with answering(tmp_path, answer) as (url, _):
        async with client_of(url) as client:
            with pytest.raises(kind) as caught:
                await client.messages.create(
                    model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
                )
    said = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == said
    assert caught.value.error_code == said["details"]["error_code"]


async def test_a_conflict_is_one_in_every_api(tmp_path: Path) -> None:
    answer = refusal(409, "conflict_error", "thread_already_continued")
    async with answering(tmp_path, answer, pair="chat-anthropic") as (url, _):
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=bundles.CLIENT_KEY, max_retries=0
        ) as client:
            with pytest.raises(openai.ConflictError) as caught:
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello"}]
                )
    assert caught.value.code == "conflict"
    assert isinstance(caught.value.body, dict)
    assert "details" not in caught.value.body


async def test_details_of_what_the_client_did_not_ask_are_not_told(tmp_path: Path) -> None:
    answer = refusal(400, INVALID, "thread_not_found")
    async with answering(tmp_path, answer, pair="messages-openai") as (url, _):
        async with client_of(url) as client:
            with pytest.raises(anthropic.BadRequestError) as caught:
                await client.messages.create(
                    model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
                )
    assert caught.value.details is None
