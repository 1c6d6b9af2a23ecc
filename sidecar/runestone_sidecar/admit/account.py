"""Where a request goes that names no model of ours: one provider, always the same.

Files, batches and fine-tuning jobs live in a provider's account, where no model tells who serves
them. There is no failing over to another account: nothing that was put into the first is there.
What is kept nowhere, a moderation say, may go to the others too.
"""

from collections.abc import Iterator

from runestone_sidecar.admit.route import Decision
from runestone_sidecar.config.snapshot import (
    Offer,
    Policy,
    Principal,
    Provider,
    Rule,
    Snapshot,
    lines_naming,
)
from runestone_sidecar.errors import NoProvider, NotFound
from runestone_sidecar.telemetry.traffic import NONE
from runestone_sidecar.upstream.dialects.base import ModelTarget
from runestone_sidecar.upstream.surfaces.base import Surface


def account_of(
    snapshot: Snapshot,
    principal: Principal,
    surface: Surface,
    wanted: str | None,
    *,
    others: bool = False,
) -> Decision:
    """The first provider, in the order of the key's policy, that has the API; or the one `wanted`,
    by its name or id, of them; and behind it the `others`, where these do as well.

    Raises NotFound, or NoProvider where there is no policy.
    """
    policy = snapshot.policy_of(principal)
    if policy is None:
        raise NoProvider("The routing policy of this API key does not exist.")
    found: dict[str, tuple[Rule, Provider]] = {}
    for rule, provider in _reachable(policy, principal):
        if _serves(provider, surface) and wanted in {None, provider.name, provider.id}:
            found.setdefault(provider.id, (rule, provider))
            if not others:
                break
    if found:
        (rule, _), *_ = found.values()
        offers = [_account(provider) for _, provider in found.values()]
        return Decision(NONE, policy, rule, offers)
    if wanted is not None:
        raise NotFound(
            f"No provider '{wanted[:100]}' of this API has this URL.", code="provider_not_found"
        )
    raise NotFound("No provider of this API key has this URL.", code="provider_not_found")


def _reachable(policy: Policy, principal: Principal) -> Iterator[tuple[Rule, Provider]]:
    """In the order in which the key's requests could come to them."""
    for rule in policy.rules:
        match = rule.match
        if match is not None and (
            (match.tenants and principal.tenant not in match.tenants)
            or (match.api_keys and principal.name not in match.api_keys)
        ):
            continue
        for target in (*rule.targets, *rule.fallbacks):
            for provider in sorted(target.pool.providers, key=lambda each: each.priority):
                if target.provider in {None, provider.name}:
                    yield rule, provider


def _serves(provider: Provider, surface: Surface) -> bool:
    return (
        provider.unavailable is None
        and provider.dialect is not None
        and surface.name in provider.dialect.native
    )


def _account(provider: Provider) -> Offer:
    """No model of it: what a client calls one may not become a label or a header."""
    return Offer(
        provider=provider,
        model=NONE,
        target=ModelTarget(upstream=NONE, max_output_tokens=None),
        capabilities=frozenset(),
        context_window=None,
        prices=None,
        lines=lines_naming(provider.id, NONE),
    )
