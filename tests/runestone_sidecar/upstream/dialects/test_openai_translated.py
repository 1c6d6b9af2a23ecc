"""What is fitted in a chat that was translated, by the provider's name for the model."""

from typing import Any

import orjson
import pytest

from runestone_sidecar.upstream.dialects.base import ModelTarget, Request, Untranslatable
from runestone_sidecar.upstream.dialects.openai import OpenAI

THOUGHT = {
    "role": "assistant",
    "content": "x",
    "reasoning_content": "y",
    "thinking_blocks": [{"type": "thinking", "thinking": "y", "signature": "s"}],
}
BODY = {
    "model": "alias",
    "messages": [{"role": "user", "content": "Hello"}, THOUGHT],
    "max_completion_tokens": 9,
    "reasoning_effort": "high",
}


def render(upstream: str, body: Any = None, *, limit: int | None = None) -> Any:
    request = Request(body or BODY, "alias", False, "r", 1)
    rendered = OpenAI().chat.render(request, ModelTarget(upstream, limit))
    assert rendered.path == b"/chat/completions"
    return orjson.loads(rendered.body)


# model -> (the name of the limit, is the effort sent, is the reasoning sent back)
MODELS = {
    "gpt-5": ("max_completion_tokens", True, False),
    "gpt-5-chat-latest": ("max_completion_tokens", False, False),
    "gpt-5.2-chat-latest": ("max_completion_tokens", False, False),
    "o3-mini": ("max_completion_tokens", True, False),
    "openai/o4-mini": ("max_completion_tokens", True, False),
    "gpt-4o": ("max_completion_tokens", False, False),
    "ft:gpt-4.1:org::id": ("max_completion_tokens", False, False),
    "gpt-3.5-turbo": ("max_completion_tokens", False, False),
    "openai/gpt-oss-120b": ("max_tokens", True, False),
    "mistral-large-latest": ("max_tokens", False, False),
    "open-mixtral-8x22b": ("max_tokens", False, False),
    "meta-llama/Llama-3.3-70B-Instruct": ("max_tokens", False, False),
    "deepseek-reasoner": ("max_tokens", True, True),
    "deepseek-ai/DeepSeek-V3.2": ("max_tokens", True, True),
    "moonshotai/Kimi-K2-Thinking": ("max_tokens", True, True),
    "deepseek-r1-distill-llama-70b": ("max_tokens", True, True),
    "our-own-model": ("max_tokens", True, False),
    "solo3": ("max_tokens", True, False),
}


@pytest.mark.parametrize(("upstream", "expected"), MODELS.items(), ids=MODELS)
def test_a_model_is_sent_what_it_takes(upstream: str, expected: tuple[str, bool, bool]) -> None:
    limit, takes_effort, takes_reasoning = expected
    body = render(upstream)
    assert body["model"] == upstream
    assert {name: body[name] for name in body if name.startswith("max")} == {limit: 9}
    assert ("reasoning_effort" in body) is takes_effort
    said = body["messages"][1]
    assert "thinking_blocks" not in said
    assert ("reasoning_content" in said) is takes_reasoning
    assert "reasoning_content" in THOUGHT, "the request is shared by all attempts"


@pytest.mark.parametrize(
    ("asked", "limit", "sent"),
    [
        pytest.param(32_000, 4_096, 4_096, id="beyond the model"),
        pytest.param(4_096, 4_096, 4_096, id="all of it"),
        pytest.param(9, 4_096, 9, id="less"),
        pytest.param(32_000, None, 32_000, id="nobody knows"),
        pytest.param(None, 4_096, None, id="not asked"),
    ],
)
@pytest.mark.parametrize("upstream", ["gpt-5", "mistral-large-latest"])
def test_no_more_is_asked_than_the_model_can_write(
    upstream: str, asked: int | None, limit: int | None, sent: int | None
) -> None:
    """OpenAI refuses more, which Claude Code asks of every model."""
    body = render(upstream, BODY | {"max_completion_tokens": asked}, limit=limit)
    assert {body[name] for name in body if name.startswith("max")} == ({sent} - {None})


def test_a_chat_of_the_clients_own_is_its_own() -> None:
    raw = b'{"model":"m","messages":[],"max_completion_tokens":32000}'
    request = Request(orjson.loads(raw), "m", False, "r", 1, raw)
    assert OpenAI().native["chat"].render(request, ModelTarget("m", 4_096)).body == raw


@pytest.mark.parametrize("upstream", ["o3-mini", "openai/o4-mini", "gpt-5", "solo3"])
def test_who_calls_one_tool_at_a_time_is_not_told_to(upstream: str) -> None:
    kept = not upstream.startswith("o")
    assert (
        "parallel_tool_calls" in render(upstream, BODY | {"parallel_tool_calls": False})
    ) is kept


LABELS = {
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "service_tier": "default",
    "verbosity": "low",
}
KEEPS_LABELS = {
    "mistral-large-latest": False,
    "Mistral-Small-3.2": False,
    "ft:open-mistral-7b:x": False,
    "open-mixtral-8x22b": False,
    "labs-devstral-small-2512": False,
    "magistral-medium-latest": False,
    "ministral-8b-latest": False,
    "codestral-latest": False,
    "gpt-5": True,
    "our-own-model": True,
    "not-a-mistral": True,
}


@pytest.mark.parametrize(("upstream", "kept"), KEEPS_LABELS.items(), ids=KEEPS_LABELS)
def test_mistral_is_not_told_what_it_refuses(upstream: str, kept: bool) -> None:
    body = render(upstream, BODY | LABELS)
    assert {name: body[name] for name in LABELS if name in body} == (LABELS if kept else {})


@pytest.mark.parametrize("messages", [None, "x", ["x", 5]], ids=["null", "a string", "strings"])
def test_what_is_no_message_is_the_providers_to_judge(messages: Any) -> None:
    body = {"model": "alias", "messages": messages}
    assert render("m", body) == body | {"model": "m"}


def test_nesting_beyond_the_encoder_is_refused() -> None:
    nested: Any = {}
    for _ in range(400):
        nested = {"x": nested}
    with pytest.raises(Untranslatable):
        render("m", {"model": "m", "tools": [nested]})
