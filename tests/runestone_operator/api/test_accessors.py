"""What a spec means where it leaves something out."""

from typing import Any

import pytest

from runestone_operator.api.apikey import ApiKeySpec
from runestone_operator.api.connection import Connections, HealthCheck, Retry, Timeouts
from runestone_operator.api.load import parse
from runestone_operator.api.provider import ModelCost, Provider
from runestone_operator.api.resource import ProviderPool, RoutingPolicy
from runestone_operator.api.routingrule import Policy
from runestone_operator.api.scalars import DecimalUsd, PositiveDuration


def provider(**fields: Any) -> Provider:
    basics = {
        "name": "a",
        "type": "OpenAI",
        "credentials": [{"secretRef": {"name": "s", "key": "k"}}],
        "models": [{"name": "m"}],
    }
    pool = parse(
        {
            "apiVersion": "runestone.dev/v1alpha1",
            "kind": "ProviderPool",
            "metadata": {"name": "p"},
            "spec": {"providers": [basics | fields]},
        }
    )
    assert isinstance(pool, ProviderPool), pool
    return pool.spec.providers[0]


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        ({}, "https://api.openai.com/v1"),
        ({"type": "Anthropic"}, "https://api.anthropic.com"),
        ({"baseURL": "http://vllm:8000/v1/"}, "http://vllm:8000/v1"),
    ],
    ids=["OpenAI", "Anthropic", "self-hosted, with a slash"],
)
def test_endpoint(fields: dict[str, Any], endpoint: str) -> None:
    assert provider(**fields).endpoint == endpoint


def test_phases_end_with_the_whole() -> None:
    usual, short = Timeouts(), Timeouts(total=PositiveDuration("2s"))
    assert (usual.connect_ms, usual.first_byte_ms, usual.idle_ms) == (5_000, 300_000, 120_000)
    assert usual.total_ms == 600_000
    assert (short.connect_ms, short.first_byte_ms, short.idle_ms) == (2_000, 2_000, 2_000)
    assert Timeouts(connect=PositiveDuration("1s")).connect_ms == 1_000


def test_no_first_byte_limit_without_streaming_that_nobody_asked_for() -> None:
    asked = Timeouts(first_byte=PositiveDuration("20s"))
    assert (Timeouts().first_byte_unstreamed_ms, asked.first_byte_unstreamed_ms) == (600_000, None)
    assert asked.first_byte_ms == 20_000


def test_backoff_starts_within_its_bound() -> None:
    assert Retry().initial_backoff_ms == 250
    assert Retry(max_backoff=PositiveDuration("100ms")).initial_backoff_ms == 100
    assert Retry(initial_backoff=PositiveDuration("1s")).initial_backoff_ms == 1_000


def test_idle_connections_are_connections() -> None:
    assert Connections().idle_limit == 50
    assert Connections(max=10).idle_limit == 10
    assert Connections(max_idle=0).idle_limit == 0


def test_probes_have_a_pause() -> None:
    assert HealthCheck().interval_ms == 30_000
    assert HealthCheck(interval=PositiveDuration("5s")).interval_ms == 5_000


def test_cached_input_costs_what_input_costs() -> None:
    assert ModelCost(input_per_million=DecimalUsd("2.5")).cached_input.micro_usd == 2_500_000
    cheaper = ModelCost(
        input_per_million=DecimalUsd("2.5"), cached_input_per_million=DecimalUsd("0")
    )
    assert cheaper.cached_input.micro_usd == 0


def test_name_at_provider() -> None:
    models = provider(models=[{"name": "m"}, {"name": "n", "upstreamName": "N-1"}]).models
    assert [model.name_at_provider for model in models] == ["m", "N-1"]


def test_a_key_is_a_clients_and_let_in() -> None:
    spec = ApiKeySpec(tenant="t")
    assert spec.enabled
    assert spec.roles == ("Client",)


@pytest.mark.parametrize(
    ("policy", "rule", "in_force"),
    [
        ("Cost", {}, Policy.COST),
        ("Cost", {"policy": "Default"}, Policy.DEFAULT),
        ("Default", {"policy": "Cost"}, Policy.COST),
        ("Cost", {"targets": [{"pool": "p", "weight": 1}]}, Policy.DEFAULT),
    ],
    ids=["of the whole", "own Default", "own Cost", "weights split"],
)
def test_policy_of_a_rule(policy: str, rule: dict[str, Any], in_force: Policy) -> None:
    rules = [{"name": "r", "targets": [{"pool": "p"}], **rule}]
    resource = parse(
        {
            "apiVersion": "runestone.dev/v1alpha1",
            "kind": "RoutingPolicy",
            "metadata": {"name": "r"},
            "spec": {"policy": policy, "rules": rules},
        }
    )
    assert isinstance(resource, RoutingPolicy), resource
    assert resource.spec.policy_of(resource.spec.rules[0]) is in_force
