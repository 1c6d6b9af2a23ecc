"""What is accepted and not acted on yet is said, and the table speaks of fields that exist."""

from typing import Any

import pytest

from runestone_operator.api.crd import KINDS
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.pending import PENDING, pending_fields, pending_note
from runestone_operator.api.resource import Resource
from runestone_operator.api.schema import Schema, structural_schema

PROVIDER = {
    "name": "a",
    "type": "OpenAI",
    "credentials": [{"secretRef": {"name": "s", "key": "k"}}],
    "models": [{"name": "m"}],
    "circuitBreaker": {},
    "healthCheck": {},
}
HOOKS = {"allowedURLs": ["https://a.example/*"], "secretRef": {"name": "s", "key": "k"}}


def resource(kind: str, spec: dict[str, Any], **metadata: Any) -> Resource:
    document = {
        "apiVersion": "runestone.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "n"} | metadata,
        "spec": spec,
    }
    parsed = parse(document)
    assert not isinstance(parsed, Rejected), parsed
    return parsed


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        (resource("ApiKey", {"tenant": "t"}), []),
        (resource("ApiKey", {"tenant": "t", "rotation": None}), []),
        (
            resource("ApiKey", {"tenant": "t", "limits": {"requestsPerMinute": 1}, "overflow": {}}),
            [],
        ),
        (resource("ApiKey", {"tenant": "t", "overflow": {"mode": "Wait"}}), []),
        (
            resource("ApiKey", {"tenant": "t", "overflow": {"mode": "Always", "webhooks": HOOKS}}),
            [],
        ),
        (
            resource(
                "ApiKey",
                {"tenant": "t", "rotation": {"interval": "1h", "overlap": "1m"}},
                annotations={"runestone.dev/rotate": "now"},
            ),
            [],
        ),
        (resource("RoutingPolicy", {"pipeline": [], "cache": None}), []),
        (
            resource("RoutingPolicy", {"pipeline": [{"name": "Log"}], "cache": {}}),
            ["spec.cache", "spec.pipeline"],
        ),
        (
            resource(
                "RoutingPolicy",
                {
                    "overflow": {
                        "maxQueued": 1,
                        "maxAge": "1s",
                        "maxAttempts": 4,
                        "resultTTL": "1h",
                    }
                },
            ),
            [],
        ),
        (resource("ProviderPool", {"providers": [PROVIDER]}), []),
    ],
    ids=[
        "plain key",
        "null",
        "overflow",
        "waiting",
        "jobs",
        "rotation",
        "nothing in it",
        "policy",
        "bounds",
        "pool",
    ],
)
def test_pending_fields(asked: Resource, paths: list[str]) -> None:
    note = f"accepted, not yet enforced in this version: {', '.join(paths)}" if paths else ""
    assert pending_note(asked) == note
    assert len(pending_fields(asked)) == len(paths)


def test_places_are_exact() -> None:
    asked = resource("ApiKey", {"tenant": "t", "signing": {"required": False}})
    assert pending_fields(asked) == (("spec", "signing"),)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rows_are_optional_fields_without_a_default(kind: Any) -> None:
    """Else the API server would set them, and everyone would be warned."""
    schema = {"properties": {"spec": structural_schema(kind.spec)}}
    for row in PENDING[kind.name]:
        parent = _below(schema, row[:-1])
        assert row[-1] in parent["properties"], row
        assert row[-1] not in parent.get("required", ()), row
        assert "default" not in parent["properties"][row[-1]], row


def _below(schema: Schema, row: tuple[str, ...]) -> Schema:
    for step in row:
        schema = schema["properties"][step]
    return schema
