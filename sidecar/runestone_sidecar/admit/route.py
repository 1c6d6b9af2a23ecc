"""Policy, pools and their state -> the offers to try, in order. No I/O; `explain` runs it too.

Alias, then the key's allowance, then the first rule that matches. The rule's targets come in their
order (or in one drawn by weight, or all are sorted by cost), then its fallbacks. Inside a target
the pool's strategy decides. A fallback to another model never makes an unknown one known.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf, log
from typing import Final

from runestone_contract.canonical import digest
from runestone_contract.config import Match
from runestone_sidecar.admit.availability import Held, all_held, healthy_first, sort_out
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.admit.strategy import PASSING, STRATEGIES, Peers, Situation, by_cost
from runestone_sidecar.config.snapshot import (
    Offer,
    Policy,
    Pool,
    Principal,
    Rule,
    Snapshot,
    Target,
    matches,
)
from runestone_sidecar.errors import BadRequest, GatewayError, ModelNotFound, NoProvider
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.codec import can_serve, is_native

# Estimates are not counts: only what is far too long for a model is kept from it here.
CONTEXT_MARGIN: Final = 1.25
_CONTEXT: Final = "ContextWindow"
_CAPABILITY: Final = "LacksCapability"
_API: Final = "NotOfThisApi"
NOT_OF_THIS_API: Final = "model_not_supported"  # a refusal's code
# Where each API has what is too long.
_PROMPTS: Final = {
    "chat": "messages",
    "messages": "messages",
    "count_tokens": "messages",
    "responses": "input",
    "embeddings": "input",
    "completions": "prompt",
}


@dataclass(slots=True)
class Query:
    """What routing needs to know of a request."""

    surface: Surface
    model: str  # as asked for
    needs: frozenset[str]  # capabilities
    input_tokens: int
    output_tokens: int  # expected
    max_output_tokens: int | None  # over all choices
    choices: int
    user: str | None
    header: Callable[[str], str | None]
    windows: int = 1  # context windows that the input may fill
    prefers: frozenset[str] = frozenset()  # capabilities by which offers are put in order


@dataclass(slots=True)
class Trace:
    """Why each other offer was not chosen; filled only when somebody asks."""

    rejected: list[tuple[str, str, str]] = field(default_factory=list)  # provider, model, reason

    def reject(self, provider_id: str, model: str, reason: str) -> None:
        self.rejected.append((provider_id, model, reason))

    def pass_over(self, pool: Pool, model: str, offers: Sequence[Offer]) -> None:
        """The providers of the pool that do not serve the model."""
        serving = {offer.provider for offer in offers}
        for provider in pool.providers:
            if provider not in serving:
                self.reject(provider.id, model, "DoesNotServeModel")


@dataclass(slots=True)
class Decision:
    model: str  # canonical: aliases resolved
    policy: Policy
    rule: Rule
    offers: Sequence[Offer]  # at least one
    peers: Peers | None = None  # to be put in order anew once it is served
    held: Sequence[Held] = ()  # who could serve, and is to be left alone just now


@dataclass(frozen=True, slots=True)
class Router:
    """Routing with the state it looks at."""

    load: LoadStore
    random: random.Random

    def decide(
        self, snapshot: Snapshot, principal: Principal, query: Query, trace: Trace | None = None
    ) -> Decision:
        """Raises ModelNotFound (also for what the key may not see), BadRequest, NoProvider or
        RateLimited.
        """
        policy = snapshot.policy_of(principal)
        if policy is None:
            raise NoProvider("The routing policy of this API key does not exist.")
        model = policy.aliases.get(query.model, query.model)
        rule = None
        if not principal.allowed_models or principal.allows(model):
            rule = _first_match(policy, principal, model, query)
        if rule is None:
            raise model_not_found(query.model)
        targets: Sequence[Target] = rule.targets
        if rule.by_weight:
            targets = self._split(principal, policy, rule, query)
        offers, known = self._offers(targets, model, query, trace)
        if rule.by_cost:
            by_price = by_cost(offers, query.input_tokens, query.output_tokens)
            offers = [*healthy_first(self.load, by_price)]
        if query.prefers:
            offers = _fit_first(offers, query)
        if rule.fallbacks:
            spare, _ = self._offers(rule.fallbacks, model, query, trace)
            spare = _fit_first(spare, query)
            offers += [offer for offer in spare if offer not in offers]
            known = known or any(_offers_it(target, model) for target in rule.fallbacks)
        if not known:
            raise model_not_found(query.model)
        if not offers:
            raise _nobody((*rule.targets, *rule.fallbacks), model, query)
        decision = Decision(model, policy, rule, offers)
        return self._sorted_out(decision, targets, query, trace)

    def _sorted_out(
        self, decision: Decision, targets: Sequence[Target], query: Query, trace: Trace | None
    ) -> Decision:
        """Without those that are to be left alone just now."""
        free, last, held = sort_out(self.load, decision.offers)
        if held and trace is not None:
            for each in held:
                trace.reject(each.offer.provider.id, each.offer.model, each.reason)
        if not free and not last:
            raise all_held(held, decision.model)
        decision.offers, decision.held = [*free, *last] if last else free, held
        if free[1:]:
            decision.peers = self._peers(free, decision, targets, query)
        return decision

    def _peers(
        self, offers: Sequence[Offer], decision: Decision, targets: Sequence[Target], query: Query
    ) -> Peers | None:
        """Those at the front that nothing but the strategy of their pool put there."""
        model, first = decision.model, offers[0]
        places = (*targets, *decision.rule.fallbacks)
        place = next(each for each in places if first in _offered(each, model))
        if place.pool.strategy not in PASSING:
            return None
        offered, by_price = _offered(place, model), decision.rule.by_cost

        def rank(offer: Offer) -> tuple[bool, int | None]:
            cost = offer.cost(query.input_tokens, query.output_tokens) if by_price else None
            return bool(query.prefers) and _would_refuse(offer, query), cost

        highest = rank(first)
        count = sum(1 for _ in takewhile(lambda o: o in offered and rank(o) == highest, offers))
        if count == 1:
            return None
        return Peers(count, STRATEGIES[place.pool.strategy], self._situation(query))

    def _split(
        self, principal: Principal, policy: Policy, rule: Rule, query: Query
    ) -> Sequence[Target]:
        """As they come in, in a race that each wins as often as its weight says.

        All run, whoever is able: where some are not, the rest win in proportion to their own
        weights; and who sticks to one of those comes back to it, and nobody else moves.
        """
        who = None
        if rule.sticky_by != "Request":
            who = f"{policy.id}/{rule.name}/{principal.id}"
            if rule.sticky_by == "User" and query.user is not None:
                who += f"/{query.user}"

        def time(target: Target) -> float:
            if not target.weight:
                return inf
            drawn = self.random.random() if who is None else _drawn(who, target)
            return -log(1 - drawn) / target.weight

        return sorted(rule.targets, key=time)

    def _offers(
        self, targets: Iterable[Target], model: str, query: Query, trace: Trace | None
    ) -> tuple[list[Offer], bool]:
        """The usable offers of the targets, in order, and whether any offer exists at all."""
        found: list[Offer] = []
        known = False
        for target in targets:
            pool, wanted = target.pool, target.model or model
            if trace is not None:
                trace.pass_over(pool, wanted, pool.offers.get(wanted, ()))
            offers = _offered(target, model)
            known = known or bool(offers)
            usable: list[Offer] = []
            for offer in offers:
                reason = _unfit(offer, query)
                if reason is None:
                    usable.append(offer)
                elif trace is not None:
                    trace.reject(offer.provider.id, offer.model, reason)
            if len(usable) > 1:
                order = STRATEGIES.get(pool.strategy, STRATEGIES["Priority"])
                ordered = order(usable, self._situation(query))
                usable = [*healthy_first(self.load, ordered)]
            found += [offer for offer in usable if offer not in found] if found else usable
        return found, known

    def _situation(self, query: Query) -> Situation:
        return Situation(
            api=query.surface.name,
            load=self.load,
            random=self.random,
            input_tokens=query.input_tokens,
            output_tokens=query.output_tokens,
        )


def _drawn(who: str, target: Target) -> float:
    """In [0, 1): the same whenever they meet."""
    there = f"{target.pool.id}/{target.provider}/{target.model}"
    return int(digest(f"{who}/{there}".encode())[:13], 16) / 16**13


def model_not_found(model: str) -> ModelNotFound:
    """One text for what does not exist and for what the key may not see."""
    return ModelNotFound(
        f"The model '{model[:200]}' does not exist or you do not have access to it."
    )


def visible_models(snapshot: Snapshot, principal: Principal) -> Mapping[str, Offer]:
    """Every model that this key may ask for, with the first offer of it, by name; aliases too."""
    policy = snapshot.policy_of(principal)
    if policy is None:
        return {}
    aliases: dict[str, list[str]] = {}
    for alias, model in policy.aliases.items():
        aliases.setdefault(model, []).append(alias)
    found: dict[str, Offer] = {}
    for rule in policy.rules:
        for target in (*rule.targets, *rule.fallbacks):
            if target.model is not None:
                continue  # it answers in the place of others
            for model, offers in target.pool.offers.items():
                offered = [o for o in offers if target.provider in (None, o.provider.name)]
                if not offered:
                    continue
                own = () if model in policy.aliases else (model,)
                for name in (*own, *aliases.get(model, ())):
                    if _rule_serves(policy, rule, principal, model, name):
                        found.setdefault(name, offered[0])
    return dict(sorted(found.items()))


def _rule_serves(policy: Policy, rule: Rule, principal: Principal, model: str, asked: str) -> bool:
    """Whether a request of this key for this model, by the name `asked`, could get to the rule
    (headers aside)."""
    if not principal.allows(model):
        return False
    for earlier in policy.rules:
        match = earlier.match
        if match is not None and not _concerns(match, principal, model, asked):
            continue
        if earlier is rule:
            return True
        if match is None or (not match.headers and not match.capabilities):
            return False
    return False


def _offers_it(target: Target, model: str) -> bool:
    return target.model is None and bool(_offered(target, model))


def _first_match(policy: Policy, principal: Principal, model: str, query: Query) -> Rule | None:
    for rule in policy.rules:
        if rule.match is None or _applies(rule.match, principal, model, query):
            return rule
    return None


def _applies(match: Match, principal: Principal, model: str, query: Query) -> bool:
    return (
        _concerns(match, principal, model, query.model)
        and (not match.capabilities or (query.needs | query.prefers).issuperset(match.capabilities))
        and all(query.header(name) == value for name, value in match.headers)
    )


def _concerns(match: Match, principal: Principal, *names: str) -> bool:
    """`names`: the model, by the name that was asked for and by its own."""
    return (
        (not match.models or any(matches(match.models, name) for name in names))
        and (not match.tenants or principal.tenant in match.tenants)
        and (not match.api_keys or principal.name in match.api_keys)
    )


def _fit_first(offers: list[Offer], query: Query) -> list[Offer]:
    """Behind the others goes who would refuse what the request prefers."""
    return sorted(offers, key=lambda offer: _would_refuse(offer, query))


def _would_refuse(offer: Offer, query: Query) -> bool:
    dialect, capabilities = offer.provider.dialect, offer.capabilities
    assert dialect is not None  # it is usable
    lacks = bool(capabilities) and not capabilities >= query.prefers
    return lacks and is_native(query.surface, dialect, capabilities)


def _unfit(offer: Offer, query: Query) -> str | None:
    """Why the offer cannot take the request; None: it can."""
    provider, capabilities = offer.provider, offer.capabilities
    if provider.unavailable is not None:
        return provider.unavailable
    if capabilities and not capabilities >= query.needs:
        return f"{_CAPABILITY}: {', '.join(sorted(query.needs - capabilities))}"
    assert provider.dialect is not None  # else it were unavailable
    if query.surface is not OPENAI_CHAT and not can_serve(  # as every dialect can
        query.surface, provider.dialect, capabilities
    ):
        return f"{_API}: {query.surface.name}"
    window = offer.context_window
    if window is not None and query.input_tokens > window * CONTEXT_MARGIN * query.windows:
        return f"{_CONTEXT}: about {query.input_tokens} tokens into {window}"
    return None


def _nobody(targets: Iterable[Target], model: str, query: Query) -> GatewayError:
    """What is told when a model is known and no offer of it can take the request.

    What no waiting mends is the request's fault; anything else may pass.
    """
    offers = [offer for target in targets for offer in _offered(target, model)]
    reasons = [_unfit(offer, query) or "" for offer in offers]
    if all(reason.startswith(_CONTEXT) for reason in reasons):
        window = max(offer.context_window or 0 for offer in offers)
        return BadRequest(
            f"This model's maximum context length is {window} tokens. However, your request is "
            f"about {query.input_tokens} tokens long.",
            param=_PROMPTS.get(query.surface.name),
            code="context_length_exceeded",
        )
    if all(reason.startswith((_CONTEXT, _CAPABILITY, _API)) for reason in reasons):
        lacking = next(reason for reason in reasons if not reason.startswith(_CONTEXT))
        kind, _, what = lacking.partition(": ")
        told = "cannot be used with this endpoint" if kind == _API else f"does not offer {what}"
        return BadRequest(f"The model '{model}' {told}.", param="model", code=NOT_OF_THIS_API)
    return NoProvider(f"No provider of model '{model}' can take this request right now.")


def _offered(target: Target, model: str) -> Sequence[Offer]:
    offers = target.pool.offers.get(target.model or model, ())
    if target.provider is None:
        return offers
    return [offer for offer in offers if target.provider == offer.provider.name]
