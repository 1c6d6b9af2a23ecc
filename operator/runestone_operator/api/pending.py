"""Fields that this version accepts and does not act on yet, so that nobody is misled.

A row goes when its feature comes. Every row is an optional field without a default: it is set only
where somebody has written it. tests/runestone_operator/api keeps the table true to the models.
"""

from collections.abc import Iterator
from typing import Final

from runestone_operator.api.problems import Location, path_of
from runestone_operator.api.resource import ApiKey, ProviderPool, Resource, RoutingPolicy

# Wire names below the kind.
PENDING: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    ProviderPool.kind: (),
    ApiKey.kind: (("spec", "signing"),),
    RoutingPolicy.kind: (("spec", "cache"), ("spec", "pipeline")),
}


def pending_fields(resource: Resource) -> tuple[Location, ...]:
    """Where this resource asks for something that does not happen yet."""
    document = {
        "metadata": {"annotations": resource.meta.annotations},
        "spec": resource.spec.model_dump(by_alias=True, exclude_none=True),
    }
    return tuple(
        location for row in PENDING[resource.kind] for location in _set_at(document, row, ())
    )


def pending_note(resource: Resource) -> str:
    """For the message of a condition; empty where all that is asked for happens."""
    paths = [path_of(location) for location in pending_fields(resource)]
    return f"accepted, not yet enforced in this version: {', '.join(paths)}" if paths else ""


def _set_at(value: object, row: tuple[str, ...], at: Location) -> Iterator[Location]:
    if not row:
        if value not in ({}, [], ()):
            yield at
        return
    step, rest = row[0], row[1:]
    if isinstance(value, dict) and step in value:
        yield from _set_at(value[step], rest, (*at, step))
