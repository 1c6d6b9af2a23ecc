import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runestone_contract.canonical import canonical, credentials_digest, digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\n\r\u2028é", max_size=4), inner),
    max_leaves=20,
)


@given(JSON)
def test_is_one_line_that_reads_back(value: object) -> None:
    line = canonical(value)
    assert line.splitlines() == [line]
    assert json.loads(line) == value


@given(st.dictionaries(st.text("abc", max_size=3), st.integers()), st.randoms())
def test_does_not_depend_on_the_order_of_keys(value: dict[str, int], random: object) -> None:
    shuffled = list(value.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert canonical(dict(shuffled)) == canonical(value)


def test_writes_text_as_utf8_and_without_spaces() -> None:
    assert canonical({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
def test_refuses_what_is_no_json(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"price": number})


def test_digest_is_sha256_in_hexadecimal() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_credentials_are_known_by_entries_and_hashes_in_any_order() -> None:
    one = credentials_digest({"a": digest(b"x"), "b": digest(b"y")})
    assert one == credentials_digest({"b": digest(b"y"), "a": digest(b"x")})
    assert one not in {credentials_digest({"a": digest(b"y"), "b": digest(b"x")}), ""}
