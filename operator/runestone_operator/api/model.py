"""The base of every API model, and the two kinds of list that Kubernetes tells apart."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from runestone_operator.api.rules import Rule

VALIDATIONS = "x-kubernetes-validations"


def with_validations(schema: JsonSchemaValue, rules: Iterable[Rule]) -> JsonSchemaValue:
    """Add to what there is: a type may be annotated more than once."""
    if added := [rule.as_validation() for rule in rules]:
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, ()), *added]
    return schema


class ApiModel(BaseModel):
    """Frozen, strict, camelCase on the wire; an unknown field is an error that names it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        ignored_types=(Rule,),
    )

    api_rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        own = tuple(value for value in vars(cls).values() if isinstance(value, Rule))
        cls.api_rules = cls.api_rules + own

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_validations(handler.resolve_ref_schema(handler(core)), cls.api_rules)


def keep_rules(value: Any, rules: tuple[Rule, ...]) -> None:
    for rule in rules:
        if not rule.holds(value):
            # The message is context, not the template: it may hold braces.
            raise PydanticCustomError("rule", "{message}", {"message": rule.message})


@dataclass(frozen=True, slots=True)
class Keeps:
    """An annotation: rules for a value that is not a model, such as a map."""

    rules: tuple[Rule, ...]

    def check(self, value: Any) -> Any:
        keep_rules(value, self.rules)
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_validations(handler(core), self.rules)


@dataclass(frozen=True, slots=True)
class MapList:
    """A list whose items are known by one field: server-side apply merges by it."""

    key: str = "name"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            _unique(lambda item: str(getattr(item, self.key))), handler(source)
        )

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        kind = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return handler(core) | kind


@dataclass(frozen=True, slots=True)
class SetList:
    """A list of scalars in which nothing is said twice."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_unique(str), handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | {"x-kubernetes-list-type": "set"}


def _unique(key_of: Callable[[Any], str]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        for index, key in _repeated([key_of(item) for item in items]):
            raise PydanticCustomError("duplicate", "{key}", {"key": key, "index": index})
        return items

    return check


def _repeated(keys: list[str]) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield index, key
        seen.add(key)
