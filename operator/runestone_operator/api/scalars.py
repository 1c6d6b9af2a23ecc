"""Strings with a meaning. On the wire they stay what a person wrote; `ms`, `bytes`, `micro_usd` and
`epoch_ms` say what they are worth."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from runestone_operator.api.forms import LABEL, SUBDOMAIN, Form, Scalar, matching
from runestone_operator.api.rules import Rule

_DURATION = r"([0-9]{1,5}(h|m|s|ms)){1,4}"
_USD = r"[0-9]{1,9}([.][0-9]{1,6})?"
_MS_PER_UNIT = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def _order(convert: str, pattern: str, left: str, operator: str, right: str) -> str:
    fields = [operand for operand in (left, right) if operand.startswith("self.")]
    unless = [f"!has({field}) || !{field}.matches(r'^(?:{pattern})$')" for field in fields]
    return " || ".join([*unless, f"{convert}({left}) {operator} {convert}({right})"])


def duration_order(left: str, operator: str, right: str) -> str:
    """CEL that compares two durations; what is absent or malformed is for other rules to tell."""
    return _order("duration", _DURATION, left, operator, right)


def usd_order(left: str, operator: str, right: str) -> str:
    """CEL that compares two amounts: a double tells any two of at most 15 digits apart."""
    return _order("double", _USD, left, operator, right)


class Duration(Scalar):
    """A Go duration in whole h, m, s and ms, as Gateway API writes them (GEP-2257)."""

    __slots__ = ()
    form = Form(32, (matching(_DURATION, "must be a duration such as 250ms, 30s or 1h30m"),))

    @property
    def ms(self) -> int:
        parts = re.findall(r"([0-9]+)(ms|h|m|s)", self)
        return sum(int(count) * _MS_PER_UNIT[unit] for count, unit in parts)


class PositiveDuration(Duration):
    """A duration for which zero makes no sense."""

    __slots__ = ()
    form = Form(
        32,
        (
            Rule(
                cel=f"self.matches(r'^(?:{_DURATION})$') && self.matches('[1-9]')",
                message="must be a duration above zero, such as 250ms, 30s or 1h30m",
                holds=lambda text: (
                    re.fullmatch(_DURATION, text) is not None
                    and re.search("[1-9]", text) is not None
                ),
            ),
        ),
    )


class DecimalUsd(Scalar):
    """An amount of US dollars as a decimal string: never a float on any path."""

    __slots__ = ()
    form = Form(
        16,
        (
            matching(
                _USD,
                'must be a decimal string of dollars such as "0.15", with at most 6 decimals',
            ),
        ),
    )

    @property
    def micro_usd(self) -> int:
        return int(Decimal(self).scaleb(6))


_BYTES_PER_UNIT = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip


class Quantity(Scalar):
    """A whole number of bytes in Kubernetes notation."""

    __slots__ = ()
    form = Form(
        16,
        (
            matching(
                r"[1-9][0-9]{0,8}(k|M|G|Ki|Mi|Gi)?",
                'must be a quantity of bytes above zero, such as "100Mi" or "1Gi"',
            ),
        ),
    )

    @property
    def bytes(self) -> int:
        digits = self.rstrip("kKMGi")
        return int(digits) * _BYTES_PER_UNIT[self[len(digits) :]]


_TIME = (
    r"(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


def _is_time(text: str) -> bool:
    """Of these, only days that a month does not have are no times."""
    if re.fullmatch(_TIME, text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


class Timestamp(Scalar):
    """RFC 3339, with an offset. To the API server it is what all of Kubernetes' times are."""

    __slots__ = ()
    form = Form(
        40,
        (
            Rule(
                cel=f"self.matches(r'^(?:{_TIME})$')"
                " && timestamp(self) > timestamp('1899-01-01T00:00:00Z')",
                message="must be a time such as 2027-01-31T00:00:00Z",
                holds=_is_time,
            ),
        ),
    )

    @classmethod
    def of(cls, when: datetime) -> Self:
        """Whole seconds in UTC, as Kubernetes writes its own times."""
        return cls(when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @classmethod
    def of_epoch_s(cls, epoch_s: int) -> Self:
        return cls.of(datetime.fromtimestamp(epoch_s, UTC))

    @property
    def when(self) -> datetime:
        return datetime.fromisoformat(self)

    @property
    def epoch_ms(self) -> int:
        return round(self.when.timestamp() * 1000)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | {"format": "date-time", "maxLength": cls.form.max_length}


class GivenTime(Timestamp):
    """A time that a person writes: `format: date-time` would let 2027-01-31t24:00:00,5z pass."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return cls.form.added_to(handler(core))


class PoolRef(Scalar):
    """A ProviderPool of this namespace (`name`) or a shared one (`namespace/name`)."""

    __slots__ = ()
    form = Form(
        127,
        (
            matching(
                f"({LABEL}/)?{SUBDOMAIN}",
                "must name a ProviderPool as name, or as namespace/name for a shared one",
            ),
        ),
    )

    @property
    def namespace(self) -> str | None:
        namespace, slash, _ = self.partition("/")
        return namespace if slash else None

    @property
    def name(self) -> str:
        return self.rpartition("/")[2]
