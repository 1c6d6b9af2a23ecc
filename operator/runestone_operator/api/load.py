"""From a document, as YAML or the API server gives it, to a resource or to what is wrong with it.

The verdict is the API server's own: unknown fields, forms, bounds, then the cross-field rules.
Messages are ours and never repeat a value, which may be a key pasted into the wrong field.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from runestone_operator.api.apikey import ApiKeySpec
from runestone_operator.api.model import ApiModel
from runestone_operator.api.problems import FieldError, Location, field_errors
from runestone_operator.api.providerpool import ProviderPoolSpec
from runestone_operator.api.resource import (
    API_VERSION,
    NAME_RULE,
    ApiKey,
    Metadata,
    ProviderPool,
    Resource,
    RoutingPolicy,
)
from runestone_operator.api.routingpolicy import RoutingPolicySpec

KINDS = (ProviderPool.kind, ApiKey.kind, RoutingPolicy.kind)
_ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status")
# A pipeline stage's settings are the middleware's own: a null may mean something there.
_FREE_FORM = "settings"
M = TypeVar("M", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that is no valid resource. `meta` is there when at least that could be read."""

    kind: str
    meta: Metadata | None
    errors: tuple[FieldError, ...]


class _Invalid(Exception):
    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


def parse(document: Mapping[str, Any], *, namespace: str = "default") -> Resource | Rejected:
    """Read one document; `namespace` is for one that names none."""
    kind = str(document.get("kind", ""))
    meta: Metadata | None = None
    try:
        _check_envelope(document)
        meta = _metadata(document, namespace)
        return _resource(kind, meta, document.get("spec"))
    except _Invalid as invalid:
        return Rejected(kind=kind, meta=meta, errors=invalid.errors)


def _resource(kind: str, meta: Metadata, spec: object) -> Resource:
    match kind:
        case ProviderPool.kind:
            return ProviderPool(meta, _model(ProviderPoolSpec, spec, ("spec",)))
        case ApiKey.kind:
            return ApiKey(meta, _model(ApiKeySpec, spec, ("spec",)))
        case _:
            return RoutingPolicy(meta, _model(RoutingPolicySpec, spec, ("spec",)))


def _check_envelope(document: Mapping[str, Any]) -> None:
    errors: list[FieldError] = []
    if document.get("apiVersion") != API_VERSION:
        errors.append(FieldError(("apiVersion",), f"must be {API_VERSION}"))
    if document.get("kind") not in KINDS:
        errors.append(FieldError(("kind",), f"must be one of {', '.join(KINDS)}"))
    missing = [name for name in ("metadata", "spec") if document.get(name) is None]
    errors += [FieldError((name,), "is required") for name in missing]
    errors += [
        FieldError((str(name),), "unknown field") for name in document if name not in _ENVELOPE
    ]
    if errors:
        raise _Invalid(tuple(errors))


def _metadata(document: Mapping[str, Any], namespace: str) -> Metadata:
    raw = document["metadata"]
    if isinstance(raw, Mapping) and not raw.get("namespace"):
        raw = {**raw, "namespace": namespace}
    meta = _model(Metadata, raw, ("metadata",))
    if not NAME_RULE.holds(meta.name):
        raise _Invalid((FieldError(("metadata", "name"), NAME_RULE.message),))
    return meta


def _model(model: type[M], value: object, at: Location) -> M:
    try:
        # By way of JSON, as on the wire: there "5" is no number and a list is no tuple.
        text = json.dumps(_without_nulls(value), default=_wire_time, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise _Invalid((FieldError(at, "holds something that JSON has no form for"),)) from None
    try:
        parsed = model.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as invalid:
        raise _Invalid(field_errors(invalid, model, at)) from None
    if errors := tuple(_broken_rules(parsed, at)):
        raise _Invalid(errors)
    return parsed


def _without_nulls(value: object) -> object:
    """The API server takes a null for an absent field."""
    if isinstance(value, Mapping):
        return {
            str(key): item if key == _FREE_FORM else _without_nulls(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _wire_time(value: object) -> str:
    """YAML readers turn an unquoted time into a datetime."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError


def _broken_rules(model: ApiModel, at: Location) -> Iterator[FieldError]:
    for rule in model.api_rules:
        if not rule.holds(model):
            yield FieldError((*at, rule.at) if rule.at else at, rule.message)
    fields = type(model).model_fields
    for name, value in model:
        if isinstance(value, (ApiModel, tuple)):
            yield from _broken_in(value, (*at, fields[name].alias or name))


def _broken_in(value: object, at: Location) -> Iterator[FieldError]:
    if isinstance(value, ApiModel):
        yield from _broken_rules(value, at)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _broken_in(item, (*at, index))
