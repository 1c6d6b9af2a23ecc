"""Our translation between OpenAI's chat and Anthropic's messages beside litellm's, on the wire.

Generated requests go through the sidecar and through litellm to one stand-in, and what arrives
there is compared; so are the replies and streams that each makes of the stand-in's. Every
difference is a row of a table below, with its reason: one that no row explains fails the test, and
so does a row that explains nothing any more.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest

from runestone_testing import bundles
from runestone_testing.chat_cases import Cases
from runestone_testing.chat_gist import events_in, gathered, gist
from runestone_testing.litellm_peer import Peer, running_litellm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runestone_testing.model import Model
    from runestone_testing.sidecar import Sidecar

pytestmark = pytest.mark.timeout(300)  # litellm's environment is made where it is missing

Json: TypeAlias = dict[str, Any]
REQUESTS = 250
REPLIES = 120
SEED = 20261123


@dataclass(frozen=True, slots=True)
class Pair:
    """What was asked and what the two made of it; a row takes out of these what it explains."""

    asked: Json
    ours: Json
    theirs: Json


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    reason: str
    settle: Callable[[Pair], bool]  # whether it had something to explain


# --- requests


def _system_is_text(pair: Pair) -> bool:
    if not isinstance(pair.ours.get("system"), str):
        return False
    pair.theirs["system"] = "\n".join(block["text"] for block in pair.theirs["system"])
    return True


def _tools_are_custom(pair: Pair) -> bool:
    kinds = [tool.pop("type", None) for tool in pair.theirs.get("tools", ())]
    return "custom" in kinds


def _documents_have_titles(pair: Pair) -> bool:
    blocks = [block for turn in pair.ours["messages"] for block in turn["content"]]
    titles = [block.pop("title", None) for block in blocks if block["type"] == "document"]
    return any(titles)


def _no_limit_asked_for(pair: Pair) -> bool:
    if pair.asked.keys() & {"max_tokens", "max_completion_tokens"}:
        return False
    return bool(pair.ours.pop("max_tokens") != pair.theirs.pop("max_tokens"))


def _parallel_as_it_is_anyway(pair: Pair) -> bool:
    if pair.asked.get("parallel_tool_calls") is not True:
        return False
    theirs = pair.theirs.get("tool_choice", {})
    explicit = theirs.pop("disable_parallel_tool_use", None) is False
    if theirs == {"type": "auto"} and "tool_choice" not in pair.ours:
        pair.theirs.pop("tool_choice")
    return explicit


def _format_under_its_new_name(pair: Pair) -> bool:
    wanted = pair.theirs.pop("output_format", None)
    if wanted is None:
        return False
    pair.theirs.setdefault("output_config", {})["format"] = wanted
    return True


def _definitions_are_kept(pair: Pair) -> bool:
    wanted = pair.ours.get("output_config", {}).get("format")
    if wanted is None or "$defs" not in wanted["schema"]:
        return False
    wanted["schema"] = inlined(wanted["schema"], wanted["schema"].pop("$defs"))
    return True


def inlined(schema: Any, definitions: Json) -> Any:
    if isinstance(schema, list):
        return [inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: inlined(each, definitions) for name, each in schema.items()}


def _answer_by_a_tool(pair: Pair) -> bool:
    tools = {tool["name"]: tool for tool in pair.ours.get("tools", ())}
    answer = tools.pop("runestone_answer", None)
    if answer is None:
        return False
    assert answer["input_schema"] == pair.asked["response_format"]["json_schema"]["schema"]
    pair.ours["tools"] = list(tools.values())
    pair.theirs["tools"] = [t for t in pair.theirs["tools"] if t["name"] != "json_tool_call"]
    pair.ours.pop("tool_choice")
    pair.theirs.pop("tool_choice", None)
    return True


def _a_forced_call_beside_a_format(pair: Pair) -> bool:
    """After the row before: here ours has no tool for the answer."""
    tools = pair.theirs.get("tools", [])
    kept = [tool for tool in tools if tool["name"] != "json_tool_call"]
    if len(kept) == len(tools):
        return False
    pair.theirs["tools"] = kept
    return True


def _thinking_gives_way_to_a_forced_call(pair: Pair) -> bool:
    forced = pair.ours.get("tool_choice", {}).get("type") in ("any", "tool")
    return forced and _thinks_there_alone(pair)


def _thinking_gives_way_to_lost_thoughts(pair: Pair) -> bool:
    turns = [turn for turn in pair.ours["messages"] if turn["role"] == "assistant"]
    kinds = [block["type"] for block in turns[-1]["content"]] if turns else []
    return "tool_use" in kinds and kinds[0] != "thinking" and _thinks_there_alone(pair)


def _thinks_there_alone(pair: Pair) -> bool:
    if "thinking" in pair.ours or "thinking" not in pair.theirs:
        return False
    del pair.theirs["thinking"]
    return True


def _budgets_of_our_own(pair: Pair) -> bool:
    ours, theirs = (each.get("thinking", {}) for each in (pair.ours, pair.theirs))
    return bool(ours.pop("budget_tokens", 0) != theirs.pop("budget_tokens", 0))


def _sampling_is_left_out(pair: Pair) -> bool:
    thinks = pair.ours.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if not thinks and pair.ours["model"] != "claude-opus-4-7":
        return False
    given = [pair.theirs.pop(name, None) for name in ("temperature", "top_p")]
    return given != [None, None]


REQUEST_ROWS = (
    Row(
        "system-is-text",
        "A system prompt without cache marks is a string: shorter, and equal by the documents.",
        _system_is_text,
    ),
    Row("tools-are-custom", "`type: custom` is what a tool without a type is.", _tools_are_custom),
    Row(
        "documents-have-titles",
        "We keep the file's name as the document's title, which a model may cite it by.",
        _documents_have_titles,
    ),
    Row(
        "no-limit-asked-for",
        "Without max_tokens ours is what the pool says of the model, theirs is their price list's.",
        _no_limit_asked_for,
    ),
    Row(
        "parallel-as-it-is-anyway",
        "parallel_tool_calls: true is the default there; we do not say it.",
        _parallel_as_it_is_anyway,
    ),
    Row(
        "format-under-its-new-name",
        "output_format was a beta's name; the API now has output_config.format.",
        _format_under_its_new_name,
    ),
    Row(
        "definitions-are-kept",
        "A schema's $defs are what the API documents; inlining them makes it longer.",
        _definitions_are_kept,
    ),
    Row(
        "answer-by-a-tool",
        "Our tool for a structured answer has a name of its own and comes last; beside those of "
        "the client the model chooses among all, where theirs leaves the format out or the tools.",
        _answer_by_a_tool,
    ),
    Row(
        "a-forced-call-beside-a-format",
        "A turn that must be a call of the client's tool has no content to be formatted.",
        _a_forced_call_beside_a_format,
    ),
    Row(
        "thinking-gives-way-to-a-forced-call",
        "The API refuses both together; a call is a demand and effort a hint.",
        _thinking_gives_way_to_a_forced_call,
    ),
    Row(
        "thinking-gives-way-to-lost-thoughts",
        "The API refuses to think on after a tool call that came back without its thinking.",
        _thinking_gives_way_to_lost_thoughts,
    ),
    Row(
        "budgets-of-our-own",
        "The documents name no budgets for efforts. Ours never passes half of max_tokens.",
        _budgets_of_our_own,
    ),
    Row(
        "sampling-is-left-out",
        "While it thinks, or where it samples by itself, a model refuses any but the default.",
        _sampling_is_left_out,
    ),
)


# --- replies


def _a_full_window_is_no_stop(pair: Pair) -> bool:
    if pair.asked["stop_reason"] != "model_context_window_exceeded":
        return False
    assert pair.ours.pop("finish_reason") == "length"
    return bool(pair.theirs.pop("finish_reason") == "stop")


def _nothing_said(pair: Pair) -> bool:
    if pair.ours["content"] != "" or pair.theirs["content"] is not None:
        return False
    pair.theirs["content"] = ""
    return True


def _the_role_comes_first(pair: Pair) -> bool:
    if pair.theirs["role"] is not None or pair.ours["role"] != "assistant":
        return False
    pair.theirs["role"] = "assistant"
    return True


_FULL_WINDOW = Row(
    "a-full-window-is-no-stop",
    "A reply that the context window cut short is not whole: length, as OpenAI says it.",
    _a_full_window_is_no_stop,
)
REPLY_ROWS = (
    _FULL_WINDOW,
    Row(
        "nothing-said",
        "Without text or calls content is empty: OpenAI's null stands beside calls or refusals.",
        _nothing_said,
    ),
)
STREAM_ROWS = (
    _FULL_WINDOW,
    Row(
        "the-role-comes-first",
        "Each of our streams begins with the role, as OpenAI's; theirs only with content.",
        _the_role_comes_first,
    ),
)


def differences(ours: object, theirs: object, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name), theirs.get(name), f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{at}]")
    elif ours != theirs:
        yield f"{path}: ours {ours!r}, theirs {theirs!r}"


def settled(pairs: Sequence[Pair], rows: Sequence[Row]) -> None:
    """Fails with what no row explains, and with rows that had nothing to explain."""
    used: set[str] = set()
    unexplained = []
    for number, pair in enumerate(pairs):
        left = Pair(*(copy.deepcopy(each) for each in (pair.asked, pair.ours, pair.theirs)))
        used |= {row.name for row in rows if row.settle(left)}
        found = differences(left.ours, left.theirs)
        unexplained += [f"{number}{line} ({pair.asked.get('model')})" for line in found]
    assert not unexplained, "\n".join(unexplained)
    assert [row.name for row in rows if row.name not in used] == []


@pytest.fixture(scope="module")
def litellm(provider: Model) -> Iterator[Peer]:
    with running_litellm(provider.url, provider.key) as peer:
        yield peer


@pytest.fixture(scope="module")
def client(sidecar: Sidecar) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {bundles.CLIENT_KEY}"}
    with httpx.Client(base_url=sidecar.base_url, headers=headers, trust_env=False) as found:
        yield found


def test_requests(provider: Model, client: httpx.Client, litellm: Peer) -> None:
    cases = Cases(random.Random(SEED))
    pairs = []
    for _ in range(REQUESTS):
        asked = cases.request()
        provider.received.clear()
        answer = client.post("/chat/completions", json=asked)
        assert answer.status_code == 200, (answer.text, asked)  # the stand-in takes it
        litellm.ask(asked)
        ours, theirs = (received.body for received in provider.received)
        pairs.append(Pair(asked, ours, theirs))
    settled(pairs, REQUEST_ROWS)


@pytest.mark.parametrize(
    ("stream", "rows"),
    [pytest.param(False, REPLY_ROWS, id="whole"), pytest.param(True, STREAM_ROWS, id="streamed")],
)
def test_replies(
    provider: Model, client: httpx.Client, litellm: Peer, *, stream: bool, rows: Sequence[Row]
) -> None:
    cases = Cases(random.Random(SEED))
    pairs = []
    for _ in range(REPLIES):
        reply = cases.reply()
        asked: Json = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "x"}]}
        if stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        provider.say(reply)
        answer = client.post("/chat/completions", json=asked)
        provider.say(reply)
        theirs = litellm.ask(asked)["reply"]
        ours = gathered(events_in(answer.text)) if stream else answer.json()
        theirs = gathered(theirs) if stream else theirs
        pairs.append(Pair(reply, gist(ours), gist(theirs)))
    settled(pairs, rows)
