"""Which provider has the files: always the same, and only one that the key may come to."""

from __future__ import annotations

from typing import Any

import pytest

from runestone_contract.config import Config, Match, Policy, Pool, Rule, Target
from runestone_sidecar.admit.account import account_of
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.errors import NoProvider, NotFound
from runestone_sidecar.upstream.surfaces.passthrough import PASSTHROUGH
from runestone_testing import bundles


def provider(name: str, **more: Any) -> Any:
    return bundles.provider("http://127.0.0.1:9/v1", name=name, **more)


POOLS = (
    Pool(
        id="shop/a",
        providers=(
            provider("claude", dialect="Anthropic"),
            provider("keyless", credentials=("gone",)),
            provider("second", priority=5),
            provider("first", priority=1),
        ),
    ),
    Pool(id="shop/b", providers=(provider("spare"),)),
)
EVERYTHING = (Rule(name="all", targets=(Target(pool="shop/a"),)),)


def chosen(
    rules: tuple[Rule, ...] = EVERYTHING, wanted: str | None = None, policy: str | None = None
) -> str:
    made: Config = bundles.config(
        pools=POOLS,
        policy=Policy(id="shop/-", default=True, rules=rules),
        keys=(bundles.key(policy=policy),),
    )
    snapshot = bundles.snapshot(made, Credentials("", {"cred-a": "sk-a"}))
    (principal,) = snapshot.keys.values()
    decision = account_of(snapshot, principal, PASSTHROUGH, wanted)
    (offer,) = decision.offers
    assert (decision.model, offer.model, offer.target.upstream) == ("-", "-", "-")
    return offer.provider.name


def rule(*targets: Target, match: Match | None = None, **more: Any) -> Rule:
    return Rule(name="r", match=match or Match(), targets=targets, **more)


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        pytest.param(EVERYTHING, "first", id="by-priority"),
        pytest.param((rule(Target(pool="shop/b")), *EVERYTHING), "spare", id="by-rules"),
        pytest.param((rule(Target(pool="shop/a", provider="second")),), "second", id="named"),
        pytest.param(
            (
                rule(Target(pool="shop/a", provider="claude"), fallbacks=(Target(pool="shop/b"),)),
                *EVERYTHING,
            ),
            "spare",
            id="of-fallbacks",
        ),
        pytest.param(
            (rule(Target(pool="shop/b"), match=Match(tenants=("other",))), *EVERYTHING),
            "first",
            id="not-for-this-tenant",
        ),
        pytest.param(
            (rule(Target(pool="shop/b"), match=Match(api_keys=("other",))), *EVERYTHING),
            "first",
            id="not-for-this-key",
        ),
        pytest.param(
            (rule(Target(pool="shop/b"), match=Match(tenants=("team",), api_keys=("app",))),),
            "spare",
            id="for-this-key",
        ),
        pytest.param(
            (rule(Target(pool="shop/b"), match=Match(models=("x",))), *EVERYTHING),
            "spare",
            id="for-models-that-the-key-may-use",
        ),
    ],
)
def test_first(rules: tuple[Rule, ...], name: str) -> None:
    assert {chosen(rules) for _ in range(3)} == {name}


@pytest.mark.parametrize("wanted", ["second", "shop/a/second"], ids=["by-name", "by-id"])
def test_wanted(wanted: str) -> None:
    assert chosen(wanted=wanted) == "second"


@pytest.mark.parametrize("wanted", ["claude", "keyless", "spare", "x\r\n"], ids=repr)
def test_wanted_and_not_to_be_had(wanted: str) -> None:
    with pytest.raises(NotFound) as caught:
        chosen(wanted=wanted)
    assert caught.value.code == "provider_not_found"


def test_nobody() -> None:
    with pytest.raises(NotFound):
        chosen((rule(Target(pool="shop/a", provider="claude")),))


def test_no_policy() -> None:
    with pytest.raises(NoProvider):
        chosen(policy="shop/gone")
