"""OpenAI's SDK, sync and async with its helpers, unchanged onto a provider of either dialect.

The stand-in's answers follow from the prompts (runestone_testing.model_mind says how).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import openai
import pytest
from pydantic import BaseModel

from runestone_testing import bundles
from runestone_testing.model_anthropic import signature_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    from runestone_testing.sidecar import Sidecar

GPT = "gpt-4o-mini"
BUDGET = "claude-haiku-4-5"
ADAPTIVE = "claude-opus-4-7"
FORCED_TOOL = "claude-3-5-sonnet-20241022"
CLAUDES = [
    pytest.param(BUDGET, id="onto-anthropic-budget"),
    pytest.param(ADAPTIVE, id="onto-anthropic-adaptive"),
    pytest.param(FORCED_TOOL, id="onto-anthropic-forced-tool"),
]
MODELS = [pytest.param(GPT, id="onto-openai"), *CLAUDES]
EVERYWHERE = pytest.mark.parametrize("name", MODELS)
ON_BOTH = pytest.mark.parametrize("name", MODELS[:2])

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Step(BaseModel):
    name: str
    minutes: int


class Recipe(BaseModel):
    title: str
    kind: Literal["soup", "cake"]
    steps: list[Step]
    note: str | None


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=sidecar.base_url, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


@pytest.fixture
async def async_client(sidecar: Sidecar) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=sidecar.base_url, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


# --- text


@EVERYWHERE
def test_a_conversation(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=name,
        messages=[
            {"role": "system", "content": "Be short."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "I am Ada."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "What did I say first?"},
        ],
        user="u-1",
    )
    (choice,) = reply.choices
    assert choice.message.content == "You said first: I am Ada."
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 10
    assert reply.usage.completion_tokens == 6
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 6


@EVERYWHERE
def test_stop_sequences_and_length(client: openai.OpenAI, name: str) -> None:
    count = said("Count to 9")
    stopped = client.chat.completions.create(model=name, messages=count, stop=["5", "7"])
    assert (stopped.choices[0].message.content or "").split() == ["1", "2", "3", "4"]
    assert stopped.choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(model=name, messages=count, max_tokens=3)
    assert cut.choices[0].message.content == "1 2 3"
    assert cut.choices[0].finish_reason == "length"
    cut = client.chat.completions.create(model=name, messages=count, max_completion_tokens=4)
    assert cut.choices[0].message.content == "1 2 3 4"


@EVERYWHERE
def test_sampling_that_a_model_does_not_take_is_left_out(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=name,
        messages=said("Repeat: x"),
        temperature=1.8,
        top_p=0.5,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        seed=1,
    )
    assert reply.choices[0].message.content == "x"


@EVERYWHERE
def test_a_refusal(client: openai.OpenAI, name: str) -> None:
    (choice,) = client.chat.completions.create(model=name, messages=said("Refuse this.")).choices
    assert choice.message.refusal == "I will not help with that."
    assert not choice.message.content
    assert choice.finish_reason == ("stop" if name == GPT else "content_filter")


def test_choices_and_logprobs(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=GPT, messages=said("Count to 3"), n=2, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in reply.choices] == [0, 1]
    logprobs = reply.choices[1].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [each.token for each in logprobs.content] == ["1", " 2", " 3"]
    assert len(logprobs.content[0].top_logprobs) == 2


# --- streams


@EVERYWHERE
def test_a_stream(client: openai.OpenAI, name: str) -> None:
    stream = client.chat.completions.create(
        model=name,
        messages=said("Count to 5"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(each.delta.content or "" for each in deltas) == "1 2 3 4 5"
    assert [each.finish_reason for each in deltas if each.finish_reason] == ["stop"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


@EVERYWHERE
def test_the_stream_helper_gathers_what_a_whole_reply_holds(
    client: openai.OpenAI, name: str
) -> None:
    question = said("What is the weather in Paris and in Oslo?")
    with client.chat.completions.stream(model=name, messages=question, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    whole = client.chat.completions.create(model=name, messages=question, tools=[WEATHER])
    expected = whole.choices[0].message.model_dump(exclude_none=True, exclude={"annotations"})
    found = streamed.choices[0].message.model_dump(exclude_none=True)
    for call in found["tool_calls"]:
        call["function"].pop("parsed_arguments")
        call.pop("index", None)
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    for call in expected["tool_calls"]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert found == expected
    assert streamed.choices[0].finish_reason == "tool_calls"


@EVERYWHERE
async def test_async(async_client: openai.AsyncOpenAI, name: str) -> None:
    reply = await async_client.chat.completions.create(model=name, messages=said("Count to 4"))
    assert reply.choices[0].message.content == "1 2 3 4"
    async with async_client.chat.completions.stream(
        model=name, messages=said("Count to 4")
    ) as stream:
        texts = [event.delta async for event in stream if event.type == "content.delta"]
    assert "".join(texts) == "1 2 3 4"
    assert len(texts) > 1


@ON_BOTH
def test_a_stream_that_is_left_early_leaves_the_client_usable(
    client: openai.OpenAI, name: str
) -> None:
    with client.chat.completions.create(
        model=name, messages=said("Count to 999"), stream=True
    ) as stream:
        next(stream)
    assert client.chat.completions.create(model=name, messages=said("Repeat: y")).choices


# --- tools


@EVERYWHERE
def test_parallel_tools_and_back(client: openai.OpenAI, name: str) -> None:
    messages = said("What is the weather in Paris and in Oslo?")
    first = client.chat.completions.create(model=name, messages=messages, tools=[WEATHER])
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I will look."
    calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
    arguments = [json.loads(call.function.arguments) for call in calls]
    assert arguments == [{"city": "Paris"}, {"city": "Oslo"}]
    assert len({call.id for call in calls}) == 2
    # As programs do it: the message as it came goes back.
    messages.append(choice.message.to_dict())  # type: ignore[arg-type]
    for call, result in zip(calls, ["rain", "snow"], strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = client.chat.completions.create(model=name, messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "The tools gave: rain; snow."
    last = client.chat.completions.create(model=name, messages=messages)
    assert last.choices[0].message.content == "The tools gave: rain; snow."


@EVERYWHERE
def test_tool_choice(client: openai.OpenAI, name: str) -> None:
    def called(**fields: Any) -> list[str]:
        reply = client.chat.completions.create(
            model=name, messages=said("Hello, what weather?"), tools=[WEATHER, other], **fields
        )
        calls = reply.choices[0].message.tool_calls or ()
        return [call.function.name for call in calls if call.type == "function"]

    other: ChatCompletionToolParam = {
        "type": "function",
        "function": {"name": "send_mail", "parameters": {"type": "object", "properties": {}}},
    }
    assert called() == ["get_weather"]
    assert called(tool_choice="auto") == ["get_weather"]
    assert called(tool_choice="required") == ["get_weather"]
    assert called(tool_choice="none") == []
    named = {"type": "function", "function": {"name": "send_mail"}}
    assert called(tool_choice=named) == ["send_mail"]


@EVERYWHERE
def test_one_tool_at_a_time(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=name,
        messages=said("What is the weather in Paris and in Oslo?"),
        tools=[WEATHER],
        parallel_tool_calls=False,
    )
    assert len(reply.choices[0].message.tool_calls or ()) == 1


# --- structured outputs


@EVERYWHERE
def test_parse(client: openai.OpenAI, name: str) -> None:
    question = said("A recipe of 'pumpkin' that takes 20")
    reply = client.chat.completions.parse(model=name, messages=question, response_format=Recipe)
    recipe = reply.choices[0].message.parsed
    assert recipe is not None
    assert (recipe.title, recipe.kind, recipe.steps[0].minutes) == ("pumpkin", "soup", 20)
    assert reply.choices[0].finish_reason == "stop"


@EVERYWHERE
async def test_parse_a_stream(async_client: openai.AsyncOpenAI, name: str) -> None:
    async with async_client.chat.completions.stream(
        model=name, messages=said("A recipe of 'leek'"), response_format=Recipe
    ) as stream:
        reply = await stream.get_final_completion()
    recipe = reply.choices[0].message.parsed
    assert recipe is not None
    assert recipe.title == "leek"


@EVERYWHERE
def test_parse_beside_tools(client: openai.OpenAI, name: str) -> None:
    def reply_to(text: str) -> Any:
        return client.chat.completions.parse(
            model=name, messages=said(text), response_format=Recipe, tools=[WEATHER]
        )

    calls = reply_to("What is the weather in Bonn?").choices[0].message.tool_calls
    assert calls[0].function.parsed_arguments == {"city": "Bonn"}
    assert reply_to("A recipe of 'kale'").choices[0].message.parsed.title == "kale"


@ON_BOTH
def test_json_object(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(
        model=name,
        messages=said("Give JSON with 'setup' and 'end'."),
        response_format={"type": "json_object"},
    )
    assert sorted(json.loads(reply.choices[0].message.content or "")) == ["end", "setup"]


# --- reasoning


@pytest.mark.parametrize("name", CLAUDES[:2])
def test_reasoning_is_kept_through_a_turn_with_tools(client: openai.OpenAI, name: str) -> None:
    def ask() -> Any:
        return client.chat.completions.create(
            model=name,
            messages=messages,
            tools=[WEATHER],
            reasoning_effort="medium",
            max_completion_tokens=4096,
        )

    messages = said("What is the weather in Paris?")
    message = ask().choices[0].message
    thinking = "I consider: What is the weather in Paris?"
    assert message.reasoning_content == thinking
    assert message.thinking_blocks == [
        {"type": "thinking", "thinking": thinking, "signature": signature_of(thinking)}
    ]
    messages.append(message.to_dict())
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"}
    messages.append(result)  # type: ignore[arg-type]
    reply = ask()
    assert reply.choices[0].message.content == "The tools gave: sun."
    assert reply.usage.completion_tokens_details.reasoning_tokens > 0


def test_reasoning_tokens_of_openai(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-5-mini", messages=said("Count to 2"), reasoning_effort="low"
    )
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens


@ON_BOTH
def test_cached_tokens(client: openai.OpenAI, name: str) -> None:
    part: Any = {"type": "text", "text": "A long preface. " * 20}
    if name != GPT:
        part["cache_control"] = {"type": "ephemeral"}
    reply = client.chat.completions.create(
        model=name, messages=[{"role": "system", "content": [part]}, *said("Repeat: z")]
    )
    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    cached = reply.usage.prompt_tokens_details.cached_tokens or 0
    assert (cached > 0) == (name != GPT)
    assert reply.usage.prompt_tokens >= 60


# --- the rest


@EVERYWHERE
def test_raw_responses(client: openai.OpenAI, name: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=name, messages=said("Repeat: q"))
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.headers["x-runestone-model"] == name
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().choices[0].message.content == "q"
    with client.chat.completions.with_streaming_response.create(
        model=name, messages=said("Repeat: q"), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
