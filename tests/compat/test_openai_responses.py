"""OpenAI's SDK on the Responses API and the legacy completions, onto models of Anthropic's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

from runestone_testing import bundles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.sidecar import Sidecar

MODELS = [
    pytest.param("claude-haiku-4-5", id="onto-anthropic-budget"),
    pytest.param("claude-opus-4-7", id="onto-anthropic-adaptive"),
    pytest.param("claude-3-5-sonnet-20241022", id="onto-anthropic-forced-tool"),
]
EVERYWHERE = pytest.mark.parametrize("name", MODELS)
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Recipe(BaseModel):
    title: str
    minutes: int


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=sidecar.base_url, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


@EVERYWHERE
def test_a_response(client: openai.OpenAI, name: str) -> None:
    response = client.responses.create(
        model=name, instructions="Be short.", input="Count to 4", store=False
    )
    assert response.output_text == "1 2 3 4"
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.output_tokens == 4


@EVERYWHERE
def test_a_stream_of_a_response(client: openai.OpenAI, name: str) -> None:
    with client.responses.stream(model=name, input="Count to 9", store=False) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == "1 2 3 4 5 6 7 8 9" == final.output_text
    assert len(deltas) > 1


@EVERYWHERE
def test_tools_there_and_back(client: openai.OpenAI, name: str) -> None:
    asked: Any = [{"role": "user", "content": "What is the weather in Paris and in Oslo?"}]
    first = client.responses.create(model=name, input=asked, tools=[WEATHER], store=False)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    asked += [item.to_dict() for item in first.output]
    for call, result in zip(calls, ["rain", "snow"], strict=True):
        output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
        asked.append(output)
    second = client.responses.create(model=name, input=asked, tools=[WEATHER], store=False)
    assert second.output_text == "The tools gave: rain; snow."


@EVERYWHERE
def test_parse(client: openai.OpenAI, name: str) -> None:
    response = client.responses.parse(
        model=name,
        input="A recipe of 'pumpkin' that takes 20",
        text_format=Recipe,
        store=False,
    )
    assert response.output_parsed == Recipe(title="pumpkin", minutes=20)


@EVERYWHERE
def test_a_legacy_completion(client: openai.OpenAI, name: str) -> None:
    whole = client.completions.create(model=name, prompt="Count to 9", max_tokens=3)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("1 2 3", "length")
    stream = client.completions.create(model=name, prompt="Count to 4", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "1 2 3 4"
