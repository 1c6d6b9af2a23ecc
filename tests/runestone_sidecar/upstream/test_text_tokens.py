"""The estimate of a text beside o200k_base's own count, and what it costs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream import text_tokens
from runestone_sidecar.upstream.text_tokens import estimate_text

# Short texts and their tokens, counted by tiktoken 0.14 with o200k_base.
COUNTED: dict[str, tuple[str, int]] = {
    name: (row["text"], row["tokens"])
    for name, row in json.loads(
        Path(__file__).with_name("token_counts.json").read_text("utf-8")
    ).items()
}
LIMIT = 0.3  # p99 of most kinds; what was measured of many texts is in the module's docstring


@pytest.mark.parametrize(("text", "counted"), COUNTED.values(), ids=COUNTED)
def test_is_near_the_tokenizer(text: str, counted: int) -> None:
    assert estimate_text(text) == pytest.approx(counted, rel=LIMIT)


def test_the_median_text_is_nearer() -> None:
    errors = sorted(abs(estimate_text(text) / counted - 1) for text, counted in COUNTED.values())
    assert errors[len(errors) // 2] <= 0.1
    assert errors[len(errors) * 9 // 10] <= 0.25


@pytest.mark.parametrize("times", [12, 100, 2_000])
def test_a_sample_stands_for_the_whole(times: int) -> None:
    text = "\n".join(text for text, _ in COUNTED.values())
    counted = sum(counted + 1 for _, counted in COUNTED.values())
    assert estimate_text(text * times) == pytest.approx(counted * times, rel=0.15)


def test_the_sample_is_bounded() -> None:
    assert len(text_tokens.take_sample("word " * 1_000_000)) == 3_072
    assert text_tokens.take_sample("word " * 70) == "word " * 70


def test_the_marks_of_the_longest_sample_count_to_its_end() -> None:
    text = "😀" * 3_072
    assert estimate_text(text * 10) == pytest.approx(10 * estimate_text(text), rel=0.01)
    assert text_tokens.count_marks(("ab1 " * 3_072).encode())[0] == 6_144
    assert text_tokens.count_scripts(text.encode())[-1] == 3_072


@given(st.text(st.characters(codec=None), max_size=2_000))
def test_any_text_gives_a_number(text: str) -> None:
    estimate = estimate_text(text)
    assert estimate >= bool(text)
    assert estimate <= 4 * len(text.encode("utf-8", "replace"))


@given(st.text(max_size=190), st.text(max_size=190))
def test_two_texts_together_have_about_the_sum(first: str, second: str) -> None:
    apart = estimate_text(first) + estimate_text(second)
    assert estimate_text(first + second) == pytest.approx(apart, rel=0.2, abs=8)
