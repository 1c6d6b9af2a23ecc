"""The state a resource is in: there, being deleted, unreadable; how old; what of it is in force."""

from collections.abc import Iterable
from typing import TypeVar

from runestone_contract import config as wire
from runestone_contract.bundle import BundleError, decode_record
from runestone_operator.api.resource import ApiKey, Metadata, ProviderPool, RoutingPolicy
from runestone_operator.compiler.inputs import Inputs, Unparsed
from runestone_operator.compiler.verdicts import Kind

_R = TypeVar("_R", wire.Pool, wire.Policy)
_S = TypeVar("_S", ProviderPool, ApiKey, RoutingPolicy)


def living(resources: Iterable[_S]) -> list[_S]:
    """A resource that is being deleted is gone already, whoever still holds a finalizer."""
    return [resource for resource in resources if resource.meta.deletion_timestamp is None]


def unreadable(inputs: Inputs, kind: Kind) -> dict[str, Unparsed]:
    """By name, resources of the namespace of which no more than their metadata could be read."""
    return {
        item.meta.name: item
        for item in inputs.unparsed
        if item.kind == kind
        and item.meta
        and item.meta.namespace == inputs.namespace
        and item.meta.deletion_timestamp is None
    }


def in_force(inputs: Inputs, kind: type[_R], identity: str) -> _R | None:
    """The record of the bundle in force; None where there is none that can be read."""
    line = inputs.previous.get(identity)
    try:
        record = decode_record(line) if line is not None else None
    except BundleError:
        return None
    return record if isinstance(record, kind) else None


def age(meta: Metadata) -> tuple[int, str]:
    """Sorts older first; in files, where nothing has a time, by name."""
    created = meta.creation_timestamp
    return (created.epoch_ms if created else 0, meta.name)


def name_of(id_: str) -> str:
    return id_.partition("/")[2]
