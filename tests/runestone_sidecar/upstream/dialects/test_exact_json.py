"""JSON that orjson refuses or rounds, against what the standard library makes of it."""

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_sidecar.upstream.dialects.exact_json import decoded, encoded, exactly_decoded

SURROGATES = "".join(map(chr, (0xD800, 0xD83D, 0xDBFF, 0xDC00, 0xDE00, 0xDFFF)))
TEXTS = st.text(st.sampled_from(SURROGATES + '\\u"/\n\0dD83 é😀'), max_size=8)
# The standard library's escapes are as lower or upper as the other.
CASES = st.sampled_from([bytes, lambda data: re.sub(rb"(?<=u)[0-9a-f]{4}", _upper, data)])


def _upper(found: re.Match[bytes]) -> bytes:
    return found[0].upper()


def whole(text: str) -> str:
    """Pairs joined, halves replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(TEXTS, CASES)
def test_a_half_of_a_pair_is_replaced(text: str, cased: Any) -> None:
    said = cased(json.dumps([text, {text: 1}]).encode())
    text = whole(json.loads(said)[0])
    assert decoded(said) == exactly_decoded(said) == [text, {text: 1}]
    number = 10**30
    assert exactly_decoded(b'{"n":%d,"x":%b}' % (number, said)) == {
        "n": number,
        "x": [text, {text: 1}],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4)
    | st.integers(min_value=10**18, max_value=10**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_whole_numbers_come_and_go(value: Any) -> None:
    assert exactly_decoded(json.dumps(value).encode()) == value
    assert json.loads(encoded(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"{", rb'"\ud83d', rb'"\x"', rb'"\ud8"', b'"\xed\xa0\xbd"', b"NaN", b"1" * 400]
)
@pytest.mark.parametrize("decode", [decoded, exactly_decoded])
def test_what_is_no_json_is_none(decode: Any, data: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode(data)
