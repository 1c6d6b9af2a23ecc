"""The shipped table of well-known models: what each can do, how much it takes, what it costs.

Each price stood the same in two independent collections on CHECKED_ON (litellm 1.109.1 and
genai-prices 0.2.3; for retired models, in genai-prices and on the vendor's page of the time), and
each window and output limit in one of them and on the vendor's model page. Vendors charge more for
very long prompts (OpenAI above 272,000 tokens since gpt-5.4, Claude Haiku 5.5 above 100,000): here
stands what a shorter one costs.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from runestone_contract.config import Prices

CHECKED_ON: Final = "2026-11-23"

_OPENAI = "https://developers.openai.com/api/docs/pricing"
_OPENAI_RETIRED = "https://platform.openai.com/docs/pricing"
_ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"
_ANTHROPIC_RETIRED = "https://docs.anthropic.com/en/docs/about-claude/pricing"


@dataclass(frozen=True, slots=True)
class KnownModel:
    capabilities: tuple[str, ...]
    context_window: int
    max_output_tokens: int | None  # None: it answers with no tokens
    prices: Prices
    source: str


_BASIC = ("Chat", "Streaming", "Tools", "ParallelTools")
_OPENAI_BASIC = (*_BASIC, "Responses")
_GPT_35 = (*_OPENAI_BASIC, "Logprobs")
_GPT_4 = (*_OPENAI_BASIC, "Vision", "Logprobs")
_GPT_4O = (*_OPENAI_BASIC, "Vision", "JSONSchema", "Logprobs")
_GPT_5 = (*_OPENAI_BASIC, "Vision", "JSONSchema", "Reasoning")
_O_TEXT = ("Chat", "Streaming", "Tools", "Responses", "JSONSchema", "Reasoning")
_O_VISION = ("Chat", "Streaming", "Tools", "Responses", "Vision", "JSONSchema", "Reasoning")
_CLAUDE_3 = (*_BASIC, "Vision", "JSONSchema")  # of a schema the sidecar makes a forced tool
_CLAUDE_4 = (*_CLAUDE_3, "Reasoning")
_EMBEDDINGS = ("Embeddings",)

# name, window, most output, dollars per million tokens: input, cached input, output
_Row = tuple[str, int, int | None, str, str | None, str]

_TABLE: Final[tuple[tuple[str, tuple[str, ...], tuple[_Row, ...]], ...]] = (
    (
        _OPENAI,
        _GPT_4O,
        (
            ("gpt-4o", 128_000, 16_384, "2.50", "1.25", "10"),
            ("gpt-4o-mini", 128_000, 16_384, "0.15", "0.075", "0.60"),
            ("gpt-4.1", 1_047_576, 32_768, "2", "0.50", "8"),
            ("gpt-4.1-mini", 1_047_576, 32_768, "0.40", "0.10", "1.60"),
            ("gpt-4.1-nano", 1_047_576, 32_768, "0.10", "0.025", "0.40"),
        ),
    ),
    (
        _OPENAI,
        _GPT_5,
        (
            ("gpt-5", 400_000, 128_000, "1.25", "0.125", "10"),
            ("gpt-5-mini", 400_000, 128_000, "0.25", "0.025", "2"),
            ("gpt-5-nano", 400_000, 128_000, "0.05", "0.005", "0.40"),
            ("gpt-5.1", 400_000, 128_000, "1.25", "0.125", "10"),
            ("gpt-5.2", 400_000, 128_000, "1.75", "0.175", "14"),
            ("gpt-5.4", 1_050_000, 128_000, "2.50", "0.25", "15"),
            ("gpt-5.4-mini", 400_000, 128_000, "0.75", "0.075", "4.50"),
            ("gpt-5.4-nano", 400_000, 128_000, "0.20", "0.02", "1.25"),
            ("gpt-5.5", 1_050_000, 128_000, "5", "0.50", "30"),
            ("gpt-5.6-sol", 1_050_000, 128_000, "4", "0.40", "20"),
            ("gpt-5.6-terra", 1_050_000, 128_000, "2", "0.20", "12"),
            ("gpt-5.6-luna", 1_050_000, 128_000, "0.20", "0.02", "1.20"),
            ("gpt-6-astra", 1_050_000, 128_000, "10", "1", "50"),
            ("gpt-6-sol", 1_050_000, 128_000, "2", "0.20", "10"),
            ("gpt-6-luna", 1_050_000, 128_000, "0.10", "0.01", "0.50"),
            ("gpt-6.1-sol", 1_050_000, 128_000, "2", "0.10", "10"),
            ("gpt-6.1-terra", 1_050_000, 128_000, "1", "0.05", "5"),
        ),
    ),
    (
        _OPENAI,
        _O_VISION,
        (
            ("o1", 200_000, 100_000, "15", "7.50", "60"),
            ("o3", 200_000, 100_000, "2", "0.50", "8"),
            ("o4-mini", 200_000, 100_000, "1.10", "0.275", "4.40"),
        ),
    ),
    (_OPENAI, _O_TEXT, (("o3-mini", 200_000, 100_000, "1.10", "0.55", "4.40"),)),
    (
        _OPENAI_RETIRED,
        _GPT_4,
        (
            ("gpt-4-turbo", 128_000, 4_096, "10", None, "30"),
            # The first gpt-4o: dearer than the name without a date, and no structured output.
            ("gpt-4o-2024-05-13", 128_000, 4_096, "5", None, "15"),
        ),
    ),
    (
        _OPENAI_RETIRED,
        _GPT_35,
        (
            ("gpt-3.5-turbo", 16_385, 4_096, "0.50", None, "1.50"),
            ("gpt-3.5-turbo-0125", 16_385, 4_096, "0.50", None, "1.50"),
        ),
    ),
    (
        _OPENAI,
        _EMBEDDINGS,
        (
            ("text-embedding-3-large", 8_192, None, "0.13", None, "0"),
            ("text-embedding-3-small", 8_192, None, "0.02", None, "0"),
            ("text-embedding-ada-002", 8_192, None, "0.10", None, "0"),
        ),
    ),
    (
        _ANTHROPIC,
        _CLAUDE_4,
        (
            ("claude-haiku-4-5", 200_000, 64_000, "1", "0.10", "5"),
            ("claude-haiku-5-5", 1_000_000, 128_000, "0.10", "0.01", "0.50"),
            ("claude-sonnet-4-5", 200_000, 64_000, "3", "0.30", "15"),
            ("claude-sonnet-4-6", 1_000_000, 128_000, "3", "0.30", "15"),
            ("claude-sonnet-5", 1_000_000, 128_000, "2", "0.20", "10"),
            ("claude-sonnet-5-5", 1_000_000, 128_000, "2", "0.10", "10"),
            ("claude-opus-4-5", 200_000, 64_000, "5", "0.50", "25"),
            ("claude-opus-4-6", 1_000_000, 128_000, "5", "0.50", "25"),
            ("claude-opus-4-7", 1_000_000, 128_000, "5", "0.50", "25"),
            ("claude-opus-4-8", 1_000_000, 128_000, "5", "0.50", "25"),
            ("claude-opus-5", 1_000_000, 128_000, "5", "0.50", "25"),
            ("claude-opus-5-5", 1_000_000, 128_000, "4", "0.20", "20"),
            ("claude-fable-5", 1_000_000, 128_000, "10", "1", "50"),
            ("claude-fable-5-1", 1_000_000, 128_000, "10", "0.25", "50"),
        ),
    ),
    (
        _ANTHROPIC_RETIRED,
        _CLAUDE_4,
        (
            ("claude-3-7-sonnet", 200_000, 64_000, "3", "0.30", "15"),
            ("claude-sonnet-4", 200_000, 64_000, "3", "0.30", "15"),
            ("claude-opus-4", 200_000, 32_000, "15", "1.50", "75"),
            ("claude-opus-4-1", 200_000, 32_000, "15", "1.50", "75"),
        ),
    ),
    (
        _ANTHROPIC_RETIRED,
        _CLAUDE_3,
        (
            ("claude-3-5-sonnet", 200_000, 8_192, "3", "0.30", "15"),
            ("claude-3-5-haiku", 200_000, 8_192, "0.80", "0.08", "4"),
            ("claude-3-opus", 200_000, 4_096, "15", "1.50", "75"),
            ("claude-3-haiku", 200_000, 4_096, "0.25", "0.03", "1.25"),
        ),
    ),
)


def _micro_usd(dollars: str) -> int:
    return int(Decimal(dollars).scaleb(6))


def _entries() -> Iterator[tuple[str, KnownModel]]:
    for source, capabilities, rows in _TABLE:
        for name, window, most_output, input_, cached, output in rows:
            prices = Prices(
                input=_micro_usd(input_),
                output=_micro_usd(output),
                cached_input=None if cached is None else _micro_usd(cached),
            )
            yield name, KnownModel(capabilities, window, most_output, prices, source)


KNOWN_MODELS: Final[Mapping[str, KnownModel]] = MappingProxyType(dict(_entries()))

# A snapshot (-2024-08-06, -20241022) or -latest costs what the name without it costs.
_SNAPSHOT = re.compile(r"-(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|latest)$")


def known_model(*, upstream: str, name: str) -> KnownModel | None:
    """What is known of a model: by the name that the provider calls it, which is what is billed,
    or else by the name that clients use (a provider may serve gpt-4o under a name of its own)."""
    return _find(upstream) or _find(name)


def _find(name: str) -> KnownModel | None:
    return KNOWN_MODELS.get(name) or KNOWN_MODELS.get(_SNAPSHOT.sub("", name))
