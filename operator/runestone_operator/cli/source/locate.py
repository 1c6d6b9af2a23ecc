"""From what the compiler says about a resource to the field that it is about.

The compiler speaks in sentences that begin with their subject; this knows the subjects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from runestone_operator.api.problems import Location

_SPEC: Final[Location] = ("spec",)
_Spec = Mapping[str, Any]


def locate(spec: _Spec, message: str) -> tuple[Location, str]:
    """The field, and the message without what the field's path says already.

    A subject that is not known here leads to the spec as a whole.
    """
    for pattern, find in _SUBJECTS:
        if found := pattern.match(message):
            rest = found.groupdict().get("rest") or message
            return find(spec, found), rest
    return _SPEC, message


def _rule(_: _Spec, found: re.Match[str]) -> Location:
    rule: Location = ("spec", "rules", int(found["rule"]))
    if found["part"]:
        target = (*rule, found["part"], int(found["number"]))
        return (*target, _part_of_target(found["rest"]))
    return (*rule, "match", "apiKeys" if "match.apiKeys" in found["rest"] else "models")


def _part_of_target(message: str) -> str:
    if "has no provider" in message:
        return "provider"
    return "model" if "serves no model" in message else "pool"


def _provider(spec: _Spec, found: re.Match[str]) -> Location:
    number, provider = _named(spec.get("providers"), found["provider"])
    at: Location = ("spec", "providers", number)
    if found["tls"]:
        return (*at, "tls", "caSecretRef")
    for place, credential in enumerate(provider.get("credentials") or ()):
        ref = credential.get("secretRef") or {}
        key = found["key"] or found["missing"]
        if ref.get("name") == found["secret"] and key in {None, ref.get("key")}:
            return (*at, "credentials", place, "secretRef")
    return at


def _model(spec: _Spec, found: re.Match[str]) -> Location:
    for number, provider in enumerate(spec.get("providers") or ()):
        place, model = _named(provider.get("models"), found["model"])
        if model:
            return ("spec", "providers", number, "models", place)
    return _SPEC


def _named(items: Any, name: str) -> tuple[int, Mapping[str, Any]]:
    for number, item in enumerate(items or ()):
        if item.get("name") == name:
            return number, item
    return 0, {}


def _account(spec: _Spec, found: re.Match[str]) -> Location:
    accounts = list(spec.get("serviceAccounts") or ())
    return ("spec", "serviceAccounts", accounts.index(found["account"]))


def _policy(spec: _Spec, _: re.Match[str]) -> Location:
    return ("spec", "routingPolicyRef" if "routingPolicyRef" in spec else "default")


def _at(*steps: str) -> Callable[[_Spec, re.Match[str]], Location]:
    return lambda *_: ("spec", *steps)


_SECRET: Final = (
    r'(?:key "(?P<key>[^"]*)" of )?Secret "(?P<secret>[^"]*)"(?: has no key "(?P<missing>[^"]*)")?'
)
_SUBJECTS: Final[tuple[tuple[re.Pattern[str], Callable[[_Spec, re.Match[str]], Location]], ...]] = (
    (
        re.compile(
            r'rules\[(?P<rule>\d+)\] "[^"]*"'
            r"(?:, (?P<part>targets|fallbacks)\[(?P<number>\d+)\])?: (?P<rest>.*)"
        ),
        _rule,
    ),
    (re.compile(rf'provider "(?P<provider>[^"]*)"(?P<tls>, tls)?: {_SECRET}'), _provider),
    (re.compile(r"no price known for: (?P<model>[^,]*)"), _model),
    (re.compile(r'alias "(?P<alias>[^"]*)"'), lambda _, found: ("spec", "aliases", found["alias"])),
    (re.compile(r"allowedModels: (?P<rest>.*)"), _at("allowedModels")),
    (re.compile(r"the client key"), _at("secretRef")),
    (re.compile(r'ApiKey "[^"]*", which is older, has the same key'), _at("secretRef")),
    (re.compile(r'service account "(?P<account>[^"]*)"'), _account),
    (
        re.compile(r"overflow\.webhooks\.secretRef: (?P<rest>.*)"),
        _at("overflow", "webhooks", "secretRef"),
    ),
    (re.compile(r"signing\.secretRef: (?P<rest>.*)"), _at("signing", "secretRef")),
    (re.compile(r'RoutingPolicy "'), _policy),
)
