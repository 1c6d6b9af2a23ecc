"""What the strings of a resource are worth, and how bad ones are turned down."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from runestone_operator.api.scalars import (
    DecimalUsd,
    Duration,
    PoolRef,
    PositiveDuration,
    Quantity,
    Timestamp,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        pytest.param("250ms", 250, id="milliseconds"),
        pytest.param("30s", 30_000, id="seconds"),
        pytest.param("1h30m", 5_400_000, id="hours and minutes"),
        pytest.param("1m1ms", 60_001, id="a minute, not sixty-one milliseconds"),
        pytest.param("30m1h", 5_400_000, id="in any order, as Go reads it"),
        pytest.param("0s", 0, id="zero"),
        pytest.param("99999h", 359_996_400_000, id="the longest number"),
    ],
)
def test_duration_in_milliseconds(text: str, ms: int) -> None:
    assert Duration.parse(text).ms == ms


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 s", "s", "-5s", "+5s", "1.5h", "5d", "5us", "100000h", "1h1h1h1h1h", "5s\n"],
)
def test_no_duration(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="must be a duration such as 250ms"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["0s", "0h0m", "000ms"])
def test_no_positive_duration(text: str) -> None:
    assert Duration.parse(text).ms == 0
    with pytest.raises(PydanticCustomError, match="must be a duration above zero"):
        PositiveDuration.parse(text)


@pytest.mark.parametrize(
    ("text", "micro_usd"),
    [
        pytest.param("0", 0, id="nothing"),
        pytest.param("50.00", 50_000_000, id="dollars"),
        pytest.param("0.000001", 1, id="a millionth"),
        pytest.param("999999999.999999", 999_999_999_999_999, id="the most"),
    ],
)
def test_dollars_in_millionths(text: str, micro_usd: int) -> None:
    assert DecimalUsd.parse(text).micro_usd == micro_usd


@given(whole=st.integers(0, 999_999_999), millionths=st.integers(0, 999_999))
def test_dollars_are_exact(whole: int, millionths: int) -> None:
    amount = DecimalUsd.parse(f"{whole}.{millionths:06}")
    assert amount.micro_usd == whole * 1_000_000 + millionths


@pytest.mark.parametrize(
    "text", ["", "-1", "1.", ".5", "1e3", "0.1234567", "1,5", "$1", "NaN", "١"]
)
def test_no_dollars(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="must be a decimal string of dollars"):
        DecimalUsd.parse(text)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("1", 1), ("1500", 1500), ("2k", 2000), ("3M", 3_000_000), ("1Ki", 1024), ("100Mi", 104857600)]
    + [("1G", 10**9), ("1Gi", 2**30)],
)
def test_quantity_in_bytes(text: str, bytes_: int) -> None:
    assert Quantity.parse(text).bytes == bytes_


@pytest.mark.parametrize("text", ["", "0", "0Mi", "01", "1.5Gi", "1mi", "1KB", "1Ti", "1e3", "-1"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="must be a quantity of bytes above zero"):
        Quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        pytest.param("2027-01-31T00:00:00Z", datetime(2027, 1, 31, tzinfo=UTC), id="in UTC"),
        pytest.param(
            "2027-01-31T01:00:00.25+01:00",
            datetime(2027, 1, 31, 1, 0, 0, 250_000, timezone(timedelta(hours=1))),
            id="elsewhere, with a fraction",
        ),
    ],
)
def test_timestamp(text: str, when: datetime) -> None:
    stamp = Timestamp.parse(text)
    assert stamp.when == when
    assert stamp.epoch_ms == round(when.timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2027-01-31", "2027-01-31T00:00:00", "2027-02-30T00:00:00Z", "1800000000"],
)
def test_no_timestamp(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="must be a time such as"):
        Timestamp.parse(text)


def test_timestamp_as_kubernetes_writes_it() -> None:
    when = datetime(2026, 3, 1, 12, 30, 15, 999_999, timezone(timedelta(hours=2)))
    assert Timestamp.of(when) == "2026-03-01T10:30:15Z"


@pytest.mark.parametrize(
    ("text", "namespace", "name"),
    [("house", None, "house"), ("platform/house.v2", "platform", "house.v2")],
)
def test_pool_reference(text: str, namespace: str | None, name: str) -> None:
    ref = PoolRef.parse(text)
    assert (ref.namespace, ref.name) == (namespace, name)


def test_a_scalar_is_the_string_that_was_written() -> None:
    assert Duration.parse("60m") == "60m" != Duration.parse("1h")


def test_what_is_too_long_is_not_even_looked_at() -> None:
    with pytest.raises(PydanticCustomError, match="may not be more than 32 characters"):
        Duration.parse("1" * 33)
