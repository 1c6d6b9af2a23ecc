"""The sidecar's answer to `explain`: what it has no reason to look at is added; put into words."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from runestone_contract import config as wire

_OUTSIDE_RULE: Final = "NotInRule"
_REASONS: Final = {
    "DoesNotServeModel": "does not serve this model",
    "CredentialsMissing": "its credentials are missing: their Secret or key was not found",
    "CertificateAuthorityMissing": "its certificate authority is missing: the Secret was not found",
    _OUTSIDE_RULE: "the rule does not lead to this pool",
}
_WITH_DETAIL: Final = {
    "LacksCapability": "cannot do what the request needs: {}",
    "ContextWindow": "the request is too long for it: {}",
    "NotOfThisApi": "cannot be asked through this endpoint: {}",
}
_NOT_KNOWN: Final = (
    "Open breakers and cooldowns are not counted in: only a running sidecar knows them, and tells "
    "at /health/providers of its health port."
)


def complete(answer: dict[str, Any], config: wire.Config) -> None:
    """What the sidecar has no reason to look at, but a person may ask about."""
    if answer.get("order"):
        rejected = answer.setdefault("rejected", [])
        mentioned = {item["provider"] for item in (*answer["order"], *rejected)}
        rejected += [
            {"provider": id_, "model": answer["model"], "reason": _OUTSIDE_RULE}
            for pool in config.pools
            for id_ in (f"{pool.id}/{provider.name}" for provider in pool.providers)
            if id_ not in mentioned
        ]
    elif (hint := _hint(answer, config)) is not None:
        answer["hint"] = hint


def _hint(answer: Mapping[str, Any], config: wire.Config) -> str | None:
    """What a refused client is not told: whether the key or the routing is in the way."""
    key = next((key for key in config.keys if key.id == answer.get("api_key")), None)
    asked = answer.get("asked", {}).get("model")
    if key is None or asked is None or answer.get("error", {}).get("code") != "model_not_found":
        return None
    policy = _policy_of(key, config)
    model = policy.aliases.get(asked, asked) if policy else asked
    if key.allowed_models and not any(fnmatchcase(model, glob) for glob in key.allowed_models):
        return f"{key.id} may only use {', '.join(key.allowed_models)} (spec.allowedModels)"
    served = sorted({m.name for pool in config.pools for p in pool.providers for m in p.models})
    if model not in served:
        return f"no pool serves {model}; served are {', '.join(served)}"
    return (
        f"no rule of {policy.id if policy else 'the policy'} sends {model} to a pool that serves it"
    )


def _policy_of(key: wire.Key, config: wire.Config) -> wire.Policy | None:
    if key.policy:
        return next((policy for policy in config.policies if policy.id == key.policy), None)
    return next((policy for policy in config.policies if policy.default), None)


def words(answer: Mapping[str, Any]) -> Iterator[str]:
    asked = answer.get("asked", {})
    facts = {
        "ApiKey": answer.get("api_key"),
        "Asked for": _asked(asked),
        "Policy": answer.get("policy"),
        "Rule": answer.get("rule"),
        "Model": answer.get("model") if answer.get("model") != asked.get("model") else None,
    }
    for name, value in facts.items():
        if value is not None:
            yield f"{name + ':':<11}{value}"
    if error := answer.get("error"):
        yield f"Refused:   {error['message']} ({error.get('code') or error.get('type')})"
    if hint := answer.get("hint"):
        yield f"Reason:    {hint}"
    if order := answer.get("order"):
        yield ""
        yield from _order(order)
        yield _NOT_KNOWN
    if rejected := answer.get("rejected"):
        yield ""
        yield "Not used:"
        width = max(len(item["provider"]) for item in rejected)
        for item in rejected:
            yield f"  {item['provider']:<{width}}  {item['model']}: {_reason(item['reason'])}"


def _asked(asked: Mapping[str, Any]) -> str | None:
    if not asked:
        return None
    needs = f", needs {' and '.join(asked['needs'])}" if asked.get("needs") else ""
    prefers = f", prefers {' and '.join(asked['prefers'])}" if asked.get("prefers") else ""
    tokens = f"about {asked['input_tokens']} tokens in, up to {asked['output_tokens']} out"
    return f"{asked['model']}{needs}{prefers}; {tokens}"


def _order(order: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "Providers, in the order in which they are tried:"
    width = max(len(item["provider"]) for item in order)
    for number, item in enumerate(order, 1):
        cost = item.get("estimated_cost_usd")
        price = "price not known" if cost is None else f"about ${cost}"
        when = "tried first" if number == 1 else "then, if that fails"
        model = item["upstream_model"]
        yield f"  {number}. {item['provider']:<{width}}  {model}  {price}  ({when})"


def _reason(reason: str) -> str:
    kind, _, detail = reason.partition(": ")
    if kind in _WITH_DETAIL:
        return _WITH_DETAIL[kind].format(detail)
    return _REASONS.get(reason, reason)
