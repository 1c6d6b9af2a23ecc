"""Values of a JSON text, counted without decoding it."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.edge.json_values import (
    FEW_VALUES,
    SLICE_BYTES,
    ValueCounter,
    count_values,
)

TEXTS = st.text(alphabet='[]{},:"\\/ntx é')
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)),
)


def marks_of(value: Any) -> int:
    """Commas and opening brackets, as the encoder writes them."""
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(map(marks_of, inner))


@given(VALUES, st.lists(st.integers(0, 500)))
def test_only_what_stands_outside_of_strings_counts(value: Any, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    counter = ValueCounter()
    for start, end in pairwise(sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})):
        counter.feed(text[start:end])
    assert counter.values == marks_of(value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param(b"[" + b"{}," * FEW_VALUES + b"0]", 1 + 2 * FEW_VALUES, id="objects"),
        pytest.param(b'["' + b"{}," * 2 * FEW_VALUES + b'"]', 1, id="a-text-that-looks-like-them"),
        pytest.param(
            b'["' + b'\\\\\\",' * SLICE_BYTES + b'","\\\\",[' + b"0," * FEW_VALUES + b"0]]",
            FEW_VALUES + 4,
            id="escapes-across-slices",
        ),
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"\\" * 3 * SLICE_BYTES, 0, id="no-json"),
    ],
)
async def test_a_text_of_many_slices(text: bytes, count: int) -> None:
    assert await count_values(text, 10**9) == count


async def test_it_stops_beyond_the_limit() -> None:
    values = await count_values(b"," * 100 * SLICE_BYTES, 2 * FEW_VALUES)
    assert 2 * FEW_VALUES < values <= SLICE_BYTES
