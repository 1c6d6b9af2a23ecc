"""Strings with a meaning: what they must look like, and what they are worth.

On the wire they stay the strings a person wrote; `ms`, `bytes`, `micro_usd` are for the compiler.
A form is checked by CEL rather than by an OpenAPI pattern, since only CEL lets the API server
answer in words instead of with a regular expression.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from runestone_operator.api.model import VALIDATIONS, keep_rules
from runestone_operator.api.rules import Rule


def matching(pattern: str, message: str) -> Rule:
    """A rule for a whole string. The pattern must mean the same to RE2 and to `re`."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.matches(r'^(?:{pattern})$')",
        message=message,
        holds=lambda text: compiled.fullmatch(text) is not None,
    )


@dataclass(frozen=True, slots=True)
class Form:
    """An annotation: how long a string may be and which rules it keeps."""

    max_length: int
    rules: tuple[Rule, ...]

    def check(self, text: str) -> str:
        if len(text) > self.max_length:
            raise PydanticCustomError(
                "text_too_long",
                "may not be more than {limit} characters",
                {"limit": self.max_length},
            )
        keep_rules(text, self.rules)
        return text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | self.schema()

    def schema(self) -> JsonSchemaValue:
        validations = [rule.as_validation() for rule in self.rules]
        return {"maxLength": self.max_length} | ({VALIDATIONS: validations} if validations else {})


class Scalar(str):
    """A string type with a form; equal to, and serialized as, the string itself."""

    __slots__ = ()
    form: ClassVar[Form]

    @classmethod
    def parse(cls, text: str) -> Self:
        cls.form.check(text)
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | cls.form.schema()


_DURATION = r"([0-9]{1,5}(h|m|s|ms)){1,4}"
_MS_PER_UNIT = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


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
                r"[0-9]{1,9}([.][0-9]{1,6})?",
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


class Timestamp(Scalar):
    """RFC 3339 with an offset. The API server checks `format: date-time` by itself."""

    __slots__ = ()
    form = Form(40, ())

    @classmethod
    def parse(cls, text: str) -> Self:
        stamp = super().parse(text)
        try:
            if "T" not in text or stamp.when.utcoffset() is None:
                raise ValueError
        except ValueError:
            message = "must be a time such as 2027-01-31T00:00:00Z"
            raise PydanticCustomError("rule", "{message}", {"message": message}) from None
        return stamp

    @classmethod
    def of(cls, when: datetime) -> Self:
        """Whole seconds in UTC, as Kubernetes writes its own times."""
        return cls(when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

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
        return handler(core) | {"format": "date-time"} | cls.form.schema()


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


class PoolRef(Scalar):
    """A ProviderPool of this namespace (`name`) or a shared one (`namespace/name`)."""

    __slots__ = ()
    form = Form(
        127,
        (
            matching(
                f"({_LABEL}/)?{_SUBDOMAIN}",
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


ItemName = Annotated[
    str,
    Form(
        63,
        (matching(_LABEL, "must be lower case letters, digits and '-' (a DNS label)"),),
    ),
]
ObjectName = Annotated[
    str,
    Form(
        253,
        (matching(_SUBDOMAIN, "must be a Kubernetes object name (a DNS subdomain)"),),
    ),
]
ResourceName = Annotated[
    str,
    Form(
        63,
        (matching(_SUBDOMAIN, "must be a Kubernetes object name (a DNS subdomain)"),),
    ),
]
SecretKey = Annotated[
    str,
    Form(253, (matching(r"[A-Za-z0-9._-]+", "must be a key of a Secret: letters, digits, . _ -"),)),
]
Tenant = Annotated[
    str,
    Form(
        63,
        (
            matching(
                r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
                "must be letters, digits, '.', '_' and '-', with a letter or digit at both ends",
            ),
        ),
    ),
]
ModelName = Annotated[
    str,
    Form(
        128,
        (
            matching(
                r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*",
                "must be a model name: letters, digits and . _ : / @ + -",
            ),
        ),
    ),
]
_GLOB_LETTER = "[A-Za-z0-9._:/@+?-]"
Glob = Annotated[
    str,
    Form(
        128,
        (
            # At most 8 stars: with the length that bounds what matching can cost.
            matching(
                f"[A-Za-z0-9*?]{_GLOB_LETTER}*([*]{_GLOB_LETTER}*){{0,7}}",
                "must be a model name, in which * (at most 8) stands for any text"
                " and ? for one character",
            ),
        ),
    ),
]
HeaderName = Annotated[
    str,
    Form(
        64,
        (
            matching(
                r"[a-z0-9][a-z0-9._-]*",
                "header names must be written in lower case letters, digits, '.', '_' and '-'",
            ),
        ),
    ),
]
HeaderValue = Annotated[
    str,
    Form(
        1024,
        (
            matching(
                r"[!-~]([ -~]*[!-~])?",
                "header values must be printable ASCII without line breaks or outer spaces",
            ),
        ),
    ),
]
Text = Annotated[
    str,
    Form(
        128,
        (matching(r"[^\x00-\x1f\x7f]*", "must be one line of text, without control characters"),),
    ),
]
