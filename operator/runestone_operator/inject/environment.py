"""What the SDKs in the app's containers find in their environment.

What a container sets itself stays. A key is given only along with the address that it is for: one
that sends its requests elsewhere must not send our key there. One exception: a container that has a
proxy for HTTP is told that the sidecar is not behind it, or its requests would never come here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_contract.names import NO_KEY
from runestone_operator.inject.facts import KeySource
from runestone_operator.inject.names import ANTHROPIC_BASE_URL, BASE_URL, SIDECAR

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Sdk:
    address: str  # the variable
    url: str
    key: str  # the variable
    otherwise: tuple[str, ...] = ()  # variables that serve as the key as well


SDKS: Final = (
    _Sdk("OPENAI_BASE_URL", BASE_URL, "OPENAI_API_KEY"),
    _Sdk("ANTHROPIC_BASE_URL", ANTHROPIC_BASE_URL, "ANTHROPIC_API_KEY", ("ANTHROPIC_AUTH_TOKEN",)),
)


_PROXIES: Final = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_EXEMPTIONS: Final = ("NO_PROXY", "no_proxy")
_LOCAL: Final = "localhost"


def with_environment(containers: list[Part], key: KeySource | None) -> list[Part]:
    return [
        container if container["name"] == SIDECAR else _with_variables(container, key)
        for container in containers
    ]


def brings_a_key(container: Mapping[str, Any]) -> bool:
    names = set(_set_by(container))
    return any({sdk.key, *sdk.otherwise} & names for sdk in SDKS)


def _with_variables(container: Part, key: KeySource | None) -> Part:
    there = _set_by(container)
    added = [variable for sdk in SDKS for variable in _missing(sdk, there, key)]
    own = list(container.get("env") or ())
    if there.keys() & set(_PROXIES):
        if not there.keys() & set(_EXEMPTIONS):
            added += [{"name": name, "value": _LOCAL} for name in _EXEMPTIONS]
        own = [_with_local(variable) for variable in own]
    # In front, so that the author's own may refer to them: $(OPENAI_API_KEY).
    return {**container, "env": [*added, *own]} if [*added, *own] else container


def _with_local(variable: Part) -> Part:
    if variable["name"] not in _EXEMPTIONS or "valueFrom" in variable:
        return variable
    hosts = [host.strip() for host in variable.get("value", "").split(",") if host.strip()]
    if _LOCAL in hosts or "*" in hosts:
        return variable
    return {**variable, "value": ",".join([*hosts, _LOCAL])}


def _missing(sdk: _Sdk, there: Mapping[str, Part], key: KeySource | None) -> Iterator[Part]:
    address = there.get(sdk.address)
    if address is None:
        yield {"name": sdk.address, "value": sdk.url}
    elif address.get("value") != sdk.url:
        return
    if not there.keys() & {sdk.key, *sdk.otherwise}:
        yield {"name": sdk.key, **_value(key)}


def _value(key: KeySource | None) -> Part:
    if key is None:
        return {"value": NO_KEY}
    # Not optional: a container waits for its key, and never starts without it.
    return {"valueFrom": {"secretKeyRef": {"name": key.secret, "key": key.entry}}}


def _set_by(container: Mapping[str, Any]) -> dict[str, Part]:
    return {variable["name"]: variable for variable in container.get("env") or ()}
