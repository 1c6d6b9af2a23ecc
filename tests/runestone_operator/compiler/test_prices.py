import datetime

import pytest

from runestone_contract.config import Prices
from runestone_operator.api.provider import Capability
from runestone_operator.compiler.prices import CHECKED_ON, KNOWN_MODELS, KnownModel, known_model

ROWS = [pytest.param(name, known, id=name) for name, known in KNOWN_MODELS.items()]

# Printed on the vendors' pages; in micro-dollars per million tokens: input, cached input, output.
PUBLISHED = {
    "gpt-4o": (2_500_000, 1_250_000, 10_000_000),
    "gpt-4o-mini": (150_000, 75_000, 600_000),
    "gpt-4-turbo": (10_000_000, None, 30_000_000),
    "gpt-3.5-turbo": (500_000, None, 1_500_000),
    "claude-3-5-sonnet": (3_000_000, 300_000, 15_000_000),
    "claude-3-5-haiku": (800_000, 80_000, 4_000_000),
    "claude-3-opus": (15_000_000, 1_500_000, 75_000_000),
    "text-embedding-3-large": (130_000, None, 0),
    "text-embedding-3-small": (20_000, None, 0),
    "text-embedding-ada-002": (100_000, None, 0),
}


@pytest.mark.parametrize(("name", "price"), PUBLISHED.items(), ids=PUBLISHED)
def test_models_promised_out_of_the_box(name: str, price: tuple[int, int | None, int]) -> None:
    input_, cached, output = price
    assert KNOWN_MODELS[name].prices == Prices(input=input_, cached_input=cached, output=output)


@pytest.mark.parametrize(("name", "known"), ROWS)
def test_every_row_makes_sense(name: str, known: KnownModel) -> None:
    assert set(known.capabilities) <= set(Capability)
    assert known.source.startswith("https://")
    prices = known.prices
    assert prices.input > 0
    assert prices.cached_input is None or 0 < prices.cached_input < prices.input
    if "Embeddings" in known.capabilities:
        assert known.max_output_tokens is None
        assert prices.output == 0
    else:
        assert known.max_output_tokens is not None
        assert 0 < known.max_output_tokens <= known.context_window
        assert prices.output > prices.input


def test_any_claude_gives_structured_outputs() -> None:
    """Where the model has none of its own, the sidecar makes a forced tool of the schema."""
    claudes = [known for name, known in KNOWN_MODELS.items() if name.startswith("claude-")]
    assert claudes
    assert all("JSONSchema" in known.capabilities for known in claudes)


def test_the_table_is_dated() -> None:
    assert datetime.date.fromisoformat(CHECKED_ON)


@pytest.mark.parametrize(
    ("upstream", "name", "found"),
    [
        ("gpt-4o", "gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "mine", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o", "gpt-4o-2024-05-13"),
        ("claude-3-5-sonnet-20241022", "gpt-4o", "claude-3-5-sonnet"),
        ("claude-3-7-sonnet-latest", "mine", "claude-3-7-sonnet"),
        ("my-deployment", "gpt-4o-mini", "gpt-4o-mini"),
        ("my-deployment", "my-model", None),
        ("gpt-4o-2024", "mine", None),
        ("gpt-4", "gpt-4", None),
    ],
    ids=[
        "by-name",
        "snapshot",
        "snapshot-of-its-own-price",
        "upstream-before-name",
        "latest",
        "name-where-upstream-is-unknown",
        "unknown",
        "no-snapshot",
        "no-row-no-guess",
    ],
)
def test_looks_up_what_is_billed(upstream: str, name: str, found: str | None) -> None:
    expected = None if found is None else KNOWN_MODELS[found]
    assert known_model(upstream=upstream, name=name) is expected
