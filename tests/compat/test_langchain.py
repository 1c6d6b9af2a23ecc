"""LangChain on the gateway: its own standard tests pass wherever they pass at the provider itself.

The same class runs against the stand-in directly, and through the sidecar onto a provider of each
dialect; a test that passes at one of these and not at another fails here.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from runestone_testing import bundles

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from runestone_testing.model import Model
    from runestone_testing.sidecar import Sidecar

pytestmark = [
    # LangChain dumps an event of OpenAI's SDK whose parsed answer is of a type that it lost.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    # One standard test hands in such a schema on purpose.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
]

ONE_PIXEL = base64.b64encode(
    base64.b16decode(
        "89504E470D0A1A0A0000000D4948445200000001000000010802000000907753DE"
        "0000000C49444154789C63606060000000040001F61738550000000049454E44AE426082"
    )
).decode()


@pytest.fixture
def benchmark() -> None:
    """Of a plugin that is turned off; the one test that names it is skipped."""


@pytest.fixture
def vcr() -> None:
    """As `benchmark`."""


class Standard(ChatModelIntegrationTests):
    """What OpenAI's chat can and the standard tests can try without the network."""

    name = "gpt-4o-mini"
    other_name = "gpt-4o"
    base_url = ""
    key = ""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "base_url": self.base_url,
            "api_key": self.key,
            "max_retries": 0,
            "stream_usage": True,
            # LangChain's own is shared by all loops; a test's loop is its own.
            "http_async_client": httpx2.AsyncClient(
                limits=httpx2.Limits(max_keepalive_connections=0), trust_env=False
            ),
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return self.other_name


class TestDirect(Standard):
    @pytest.fixture(autouse=True)
    def place(self, provider: Model) -> None:
        self.base_url, self.key = f"{provider.url}/v1", provider.key


class TestOntoOpenAI(Standard):
    @pytest.fixture(autouse=True)
    def place(self, sidecar: Sidecar) -> None:
        self.base_url, self.key = sidecar.base_url, bundles.CLIENT_KEY


class TestOntoAnthropic(TestOntoOpenAI):
    name = "claude-haiku-4-5"
    other_name = "claude-opus-4-7"


PLACES = [
    pytest.param("gpt-4o-mini", id="onto-openai"),
    pytest.param("claude-haiku-4-5", id="onto-anthropic-budget"),
    pytest.param("claude-opus-4-7", id="onto-anthropic-adaptive"),
    pytest.param("claude-3-5-sonnet-20241022", id="onto-anthropic-forced-tool"),
]


@pytest.fixture
def chat(sidecar: Sidecar, request: pytest.FixtureRequest) -> ChatOpenAI:
    return ChatOpenAI(
        model=request.param,
        base_url=sidecar.base_url,
        api_key=bundles.CLIENT_KEY,
        max_retries=0,
    )


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


@tool
def add_numbers(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@pytest.mark.parametrize("chat", PLACES, indirect=True)
def test_an_agent_calls_its_tools_in_parallel_and_answers(chat: ChatOpenAI) -> None:
    agent = create_agent(chat, [get_weather, add_numbers], system_prompt="Be kind.")
    question = "What is the weather in Paris and in Oslo? And add_numbers(2, 40)."
    messages = agent.invoke({"messages": [HumanMessage(question)]})["messages"]
    calls = messages[1].tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Oslo"}),
        ("add_numbers", {"a": 2, "b": 40}),
    ]
    results = [each for each in messages if isinstance(each, ToolMessage)]
    assert [each.tool_call_id for each in results] == [call["id"] for call in calls]
    assert messages[-1].text == "The tools gave: sun in Paris; sun in Oslo; 42."


@pytest.mark.parametrize("chat", PLACES, indirect=True)
def test_an_agent_remembers_across_turns(chat: ChatOpenAI) -> None:
    agent = create_agent(chat, [get_weather])
    state = agent.invoke({"messages": [HumanMessage("What is the weather in Rome?")]})
    state = agent.invoke({"messages": [*state["messages"], HumanMessage("What did I say first?")]})
    assert state["messages"][-1].text == "You said first: What is the weather in Rome?"


@pytest.mark.parametrize("chat", PLACES, indirect=True)
def test_an_agent_streams_its_messages(chat: ChatOpenAI) -> None:
    agent = create_agent(chat, [get_weather])
    asked = HumanMessage("What is the weather in Oslo?")
    updates = list(agent.stream({"messages": [asked]}, stream_mode="updates"))
    assert [name for update in updates for name in update] == ["model", "tools", "model"]
    assert updates[-1]["model"]["messages"][0].text == "The tools gave: sun in Oslo."


@pytest.mark.parametrize("chat", PLACES, indirect=True)
@pytest.mark.parametrize(
    ("part", "seen"),
    [
        pytest.param(
            {"type": "image", "base64": ONE_PIXEL, "mime_type": "image/png"},
            "an image",
            id="image",
        ),
        pytest.param(
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ONE_PIXEL}"}},
            "an image",
            id="image-of-openai",
        ),
        pytest.param(
            {"type": "image", "url": "https://example.org/x.png"}, "an image", id="image-url"
        ),
        pytest.param(
            {
                "type": "file",
                "base64": base64.b64encode(b"%PDF-1.7 nothing").decode(),
                "mime_type": "application/pdf",
                "filename": "paper.pdf",
            },
            "a document",
            id="pdf",
        ),
    ],
)
def test_media(chat: ChatOpenAI, part: dict[str, Any], seen: str) -> None:
    """The standard tests of these fetch theirs from the web."""
    reply = chat.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, part])])
    assert reply.text == f"I see {seen}."


@pytest.mark.parametrize("chat", PLACES, indirect=True)
def test_an_image_from_a_tool(chat: ChatOpenAI) -> None:
    """OpenAI's tool messages hold text alone; Claude sees what a tool drew."""
    call = {"type": "tool_call", "id": "1", "name": "get_weather", "args": {"city": "Oslo"}}
    image = {"type": "image", "base64": ONE_PIXEL, "mime_type": "image/png"}
    text = {"type": "text", "text": "a map"}
    messages = [
        HumanMessage("Show the weather in Oslo."),
        AIMessage("", tool_calls=[call]),
        ToolMessage([text, image], tool_call_id="1"),
    ]
    if "gpt" in chat.model_name:
        messages[-1] = ToolMessage([text], tool_call_id="1")
    reply = chat.bind_tools([get_weather]).invoke(messages)
    assert reply.text == "The tools gave: a map."
