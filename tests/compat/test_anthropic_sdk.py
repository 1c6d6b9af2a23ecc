"""Anthropic's SDK, sync and async with its helpers, unchanged onto a provider of either dialect.

The stand-in's answers follow from the prompts (runestone_testing.model_mind says how).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types import ThreadNotFoundError
from pydantic import BaseModel

from runestone_testing import bundles
from runestone_testing.chat_cases import PDF, PNG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anthropic.types import MessageParam, ToolParam

    from runestone_testing.model import Model
    from runestone_testing.sidecar import Sidecar

CLAUDE = "claude-haiku-4-5"
GPT = "gpt-4o-mini"
MODELS = [pytest.param(CLAUDE, id="onto-anthropic"), pytest.param(GPT, id="onto-openai")]
EVERYWHERE = pytest.mark.parametrize("name", MODELS)
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class Recipe(BaseModel):
    title: str
    minutes: int


def said(content: Any) -> list[MessageParam]:
    return [{"role": "user", "content": content}]


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=sidecar.api, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


@pytest.fixture
async def async_client(sidecar: Sidecar) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=sidecar.api, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- text


@EVERYWHERE
def test_a_conversation(client: anthropic.Anthropic, name: str) -> None:
    message = client.messages.create(
        model=name,
        max_tokens=100,
        system=[{"type": "text", "text": "Be short."}],
        messages=[
            {"role": "user", "content": "I am Ada."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "What did I say first?"}]},
        ],
        metadata={"user_id": "u-1"},
    )
    assert text_of(message) == "You said first: I am Ada."
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.usage.output_tokens == 6
    assert message.usage.input_tokens > 8


@EVERYWHERE
def test_stop_sequences_and_length(client: anthropic.Anthropic, name: str) -> None:
    stopped = client.messages.create(
        model=name, max_tokens=100, messages=said("Count to 9"), stop_sequences=["5", "7"]
    )
    assert text_of(stopped).split() == ["1", "2", "3", "4"]
    # OpenAI does not tell which text stopped it, nor that one did.
    assert stopped.stop_reason == ("stop_sequence" if name == CLAUDE else "end_turn")
    cut = client.messages.create(model=name, max_tokens=3, messages=said("Count to 9"))
    assert (text_of(cut), cut.stop_reason) == ("1 2 3", "max_tokens")


@EVERYWHERE
def test_a_refusal(client: anthropic.Anthropic, name: str) -> None:
    message = client.messages.create(model=name, max_tokens=99, messages=said("Refuse this."))
    assert message.stop_reason == "refusal"


@EVERYWHERE
@pytest.mark.parametrize(
    ("block", "seen"),
    [
        pytest.param(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
            "an image",
            id="image",
        ),
        pytest.param(
            {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}},
            "an image",
            id="image-url",
        ),
        pytest.param(
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
            "a document",
            id="pdf",
        ),
    ],
)
def test_media(client: anthropic.Anthropic, name: str, block: dict[str, Any], seen: str) -> None:
    content = [block, {"type": "text", "text": "What is this?"}]
    message = client.messages.create(model=name, max_tokens=99, messages=said(content))
    assert text_of(message) == f"I see {seen}."


# --- streams


@EVERYWHERE
def test_a_stream(client: anthropic.Anthropic, name: str) -> None:
    with client.messages.stream(model=name, max_tokens=99, messages=said("Count to 5")) as stream:
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(texts) == "1 2 3 4 5"
    assert len(texts) > 1
    assert text_of(message) == "1 2 3 4 5"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 5
    assert message.usage.input_tokens > 0


@EVERYWHERE
def test_the_events_of_a_stream(client: anthropic.Anthropic, name: str) -> None:
    events = client.messages.create(
        model=name, max_tokens=99, messages=said("Repeat: x"), stream=True
    )
    kinds = [event.type for event in events if event.type != "content_block_delta"]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@EVERYWHERE
async def test_async(async_client: anthropic.AsyncAnthropic, name: str) -> None:
    message = await async_client.messages.create(
        model=name, max_tokens=99, messages=said("Count to 4")
    )
    assert text_of(message) == "1 2 3 4"
    async with async_client.messages.stream(
        model=name, max_tokens=99, messages=said("Count to 4")
    ) as stream:
        assert "".join([text async for text in stream.text_stream]) == "1 2 3 4"


# --- tools


@EVERYWHERE
def test_parallel_tools_and_back(client: anthropic.Anthropic, name: str) -> None:
    messages = said("What is the weather in Paris and in Oslo?")

    def ask() -> anthropic.types.Message:
        return client.messages.create(model=name, max_tokens=99, messages=messages, tools=[WEATHER])

    first = ask()
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert text_of(first) == "I will look."
    messages.append({"role": "assistant", "content": first.content})
    results: Any = [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(calls, ["rain", "snow"], strict=True)
    ]
    messages.append({"role": "user", "content": results})
    assert text_of(ask()) == "The tools gave: rain; snow."


@EVERYWHERE
def test_the_stream_helper_gathers_what_a_whole_message_holds(
    client: anthropic.Anthropic, name: str
) -> None:
    fields: Any = {
        "model": name,
        "max_tokens": 99,
        "messages": said("What is the weather in Paris and in Oslo?"),
        "tools": [WEATHER],
    }
    with client.messages.stream(**fields) as stream:
        streamed = stream.get_final_message()
    whole = client.messages.create(**fields)

    def gist(message: anthropic.types.Message) -> Any:
        blocks = [
            (b.type, getattr(b, "text", None), getattr(b, "input", None)) for b in message.content
        ]
        return blocks, message.stop_reason, message.usage.input_tokens, message.usage.output_tokens

    assert gist(streamed) == gist(whole)


def test_results_of_parallel_tools_in_turns_of_their_own(client: anthropic.Anthropic) -> None:
    """Anthropic takes them for one; a chat refuses a result after what the user says."""
    messages = said("What is the weather in Paris and in Oslo?")
    fields: Any = {"model": GPT, "max_tokens": 99, "messages": messages, "tools": [WEATHER]}
    first = client.messages.create(**fields)
    messages.append({"role": "assistant", "content": first.content})
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    calls = [block for block in first.content if block.type == "tool_use"]
    for call, content in zip(calls, ([image], "snow"), strict=True):
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": content}
        messages.append({"role": "user", "content": [result]})
    assert text_of(client.messages.create(**fields)) == "I see an image."


@EVERYWHERE
@pytest.mark.parametrize(
    ("choice", "called"),
    [
        pytest.param({"type": "auto"}, ["get_weather"], id="auto"),
        pytest.param({"type": "any"}, ["get_weather"], id="any"),
        pytest.param({"type": "none"}, [], id="none"),
        pytest.param({"type": "tool", "name": "send_mail"}, ["send_mail"], id="tool"),
    ],
)
def test_tool_choice(
    client: anthropic.Anthropic, name: str, choice: Any, called: list[str]
) -> None:
    mail: ToolParam = {"name": "send_mail", "input_schema": {"type": "object", "properties": {}}}
    message = client.messages.create(
        model=name,
        max_tokens=99,
        messages=said("Hello, what weather?"),
        tools=[WEATHER, mail],
        tool_choice=choice,
    )
    assert [block.name for block in message.content if block.type == "tool_use"] == called


@beta_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_tool_runner_does_without_a_thread_where_none_is_kept(
    client: anthropic.Anthropic, provider: Model, stream: bool
) -> None:
    """It asks for one unasked."""
    first = len(provider.received)
    fields: Any = {
        "model": GPT,
        "max_tokens": 99,
        "tools": [get_weather],
        "messages": said("What is the weather in Paris and in Oslo?"),
        "stream": stream,
    }
    runner: Any = client.beta.messages.tool_runner(**fields)
    replies = [each.get_final_message() if stream else each for each in runner]
    assert text_of(replies[-1]) == "The tools gave: rain in Paris; rain in Oslo."
    assert [reply.stop_reason for reply in replies] == ["tool_use", "end_turn"]
    assert len(provider.received) - first == 2


def test_a_thread_that_is_kept_nowhere_is_not_found(client: anthropic.Anthropic) -> None:
    fields: Any = {
        "model": GPT,
        "max_tokens": 9,
        "messages": said("And then?"),
        "thread": {"type": "continue", "previous_message_id": "msg_1"},
    }
    with pytest.raises(ThreadNotFoundError) as caught:
        client.beta.messages.create(**fields)
    assert caught.value.error_code == "thread_not_found"


@EVERYWHERE
def test_one_tool_at_a_time(client: anthropic.Anthropic, name: str) -> None:
    message = client.messages.create(
        model=name,
        max_tokens=99,
        messages=said("What is the weather in Paris and in Oslo?"),
        tools=[WEATHER],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert len([block for block in message.content if block.type == "tool_use"]) == 1


@EVERYWHERE
def test_parse(client: anthropic.Anthropic, name: str) -> None:
    message = client.messages.parse(
        model=name,
        max_tokens=99,
        messages=said("A recipe of 'pumpkin' that takes 20"),
        output_format=Recipe,
    )
    assert message.parsed_output == Recipe(title="pumpkin", minutes=20)


# --- thinking


def test_thinking_is_kept_through_a_turn_with_tools(client: anthropic.Anthropic) -> None:
    messages = said("What is the weather in Paris?")

    def ask() -> anthropic.types.Message:
        return client.messages.create(
            model=CLAUDE,
            max_tokens=4096,
            messages=messages,
            tools=[WEATHER],
            thinking={"type": "enabled", "budget_tokens": 1024},
        )

    first = ask()
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
    call = first.content[-1]
    assert call.type == "tool_use"
    messages.append({"role": "assistant", "content": first.content})
    results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "sun"}]
    messages.append({"role": "user", "content": results})
    assert text_of(ask()) == "The tools gave: sun."


# --- the rest of the API


@EVERYWHERE
def test_count_tokens(client: anthropic.Anthropic, name: str) -> None:
    counted = client.messages.count_tokens(model=name, messages=said("one two three"))
    assert 3 <= counted.input_tokens <= 12


@EVERYWHERE
def test_raw_responses(client: anthropic.Anthropic, name: str) -> None:
    raw = client.messages.with_raw_response.create(
        model=name, max_tokens=9, messages=said("Repeat: q")
    )
    assert raw.headers["x-request-id"]
    assert raw.headers["x-runestone-model"] == name
    assert text_of(raw.parse()) == "q"
