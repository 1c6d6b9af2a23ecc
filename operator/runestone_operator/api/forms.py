"""How a string in a resource must look, said once for the API server and for this code.

A form is CEL rather than an OpenAPI pattern, since only CEL lets the API server answer in words
instead of with a regular expression.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from runestone_operator.api.model import keep_rules, with_validations
from runestone_operator.api.rules import Rule

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
SUBDOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


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
        return self.added_to(handler(core))

    def added_to(self, schema: JsonSchemaValue) -> JsonSchemaValue:
        return with_validations(schema | {"maxLength": self.max_length}, self.rules)


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
        return cls.form.added_to(handler(core))
