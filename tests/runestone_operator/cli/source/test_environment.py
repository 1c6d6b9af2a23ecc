"""A gateway out of environment variables: compiled like files, and refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import Limits
from runestone_operator.cli.compiled import StandIns, build
from runestone_operator.cli.failure import CommandError
from runestone_operator.cli.source.environment import EnvironmentSource
from runestone_operator.cli.source.world import build_world

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runestone_operator.cli.compiled import Build

OPENAI = {"OPENAI_API_KEY": "sk-canary-openai"}
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-canary"}
CLIENT = "sk-mine-0123456789012345"


def built(env: Mapping[str, str]) -> Build:
    world = build_world(EnvironmentSource(env, port=4003).read())
    assert world.problems == []
    made = build(world, "default", StandIns())
    return made


def test_a_provider_key_is_enough() -> None:
    made = built(OPENAI)

    (pool,) = made.compiled.config.pools
    (provider,) = pool.providers
    assert (provider.dialect, provider.base_url) == ("OpenAI", "https://api.openai.com/v1")
    models = {model.name for model in provider.models}
    assert {"gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "gpt-3.5-turbo"} <= models
    assert {f"text-embedding-{n}" for n in ("3-large", "3-small", "ada-002")} <= models
    assert not any(name.startswith("claude") for name in models)
    assert b"sk-canary-openai" in made.credential_files.values()
    assert len(made.compiled.credentials) == 1
    assert made.problems == ()
    (key,) = made.client_keys
    assert key.is_generated


def test_two_keys_are_two_providers_and_every_model_has_a_price() -> None:
    made = built(OPENAI | ANTHROPIC)

    (pool,) = made.compiled.config.pools
    assert [provider.name for provider in pool.providers] == ["openai", "anthropic"]
    assert all(model.prices for provider in pool.providers for model in provider.models)
    known = {model.name: model.upstream for model in pool.providers[1].models}
    assert known["claude-3-5-sonnet"] == "claude-3-5-sonnet-20241022"
    assert known["claude-3-5-haiku"] == "claude-3-5-haiku-20241022"
    assert known["claude-3-opus"] == "claude-3-opus-20240229"


def test_the_client_key_and_the_policy_may_be_given() -> None:
    made = built(OPENAI | {"RUNESTONE_API_KEY": CLIENT, "RUNESTONE_ROUTER_POLICY": "cost"})

    (key,) = made.client_keys
    assert (key.value, key.is_generated) == (CLIENT, False)
    (policy,) = made.compiled.config.policies
    assert (policy.default, policy.policy) == (True, "Cost")


def test_requests_at_once_may_be_limited() -> None:
    made = built(OPENAI | {"MAX_CONCURRENT_PER_TENANT": "3"})

    assert not made.problems
    assert made.compiled.config.keys[0].limits == Limits(concurrent_requests=3)


def test_a_limit_that_makes_no_sense_is_said_at_its_variable() -> None:
    env = OPENAI | {"MAX_CONCURRENT_PER_TENANT": "0"}
    (problem,) = build_world(EnvironmentSource(env, port=4003).read(), "default").problems

    assert problem.place.file == "MAX_CONCURRENT_PER_TENANT"
    assert problem.path == "spec.limits.concurrentRequests"


def test_a_provider_may_be_elsewhere() -> None:
    made = built(OPENAI | {"OPENAI_BASE_URL": "http://127.0.0.1:4010/v1"})

    assert made.compiled.config.pools[0].providers[0].base_url == "http://127.0.0.1:4010/v1"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        pytest.param({}, "OPENAI_API_KEY=sk-... runestone run", id="nothing"),
        pytest.param({"OPENAI_API_KEY": ""}, "there is nothing to serve yet", id="empty key"),
        pytest.param(
            OPENAI | {"RUNESTONE_API_KEY": "mine"}, "RUNESTONE_API_KEY must be sk-", id="client key"
        ),
        pytest.param(
            OPENAI | {"RUNESTONE_ROUTER_POLICY": "cheap"},
            "RUNESTONE_ROUTER_POLICY must be default or cost",
            id="policy",
        ),
        pytest.param(
            OPENAI | {"MAX_CONCURRENT_PER_TENANT": "ten"}, "must be a whole number", id="limit"
        ),
        *(
            pytest.param(
                OPENAI | {"OPENAI_BASE_URL": f"http://{host}:4003/v1"},
                "OPENAI_BASE_URL leads to this gateway itself",
                id=f"loop by {host}",
            )
            for host in ("localhost", "127.0.0.1", "[::1]")
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(env: Mapping[str, str], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        EnvironmentSource(env, port=4003).read()

    assert message in refused.value.message
    assert "canary" not in refused.value.message
