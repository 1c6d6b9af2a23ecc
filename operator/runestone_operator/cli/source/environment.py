"""A gateway out of a few environment variables: the documents that somebody would have written.

They are compiled like any other. Each names the variables that it comes from as its file.
"""

import ipaddress
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_operator.api.provider import VENDOR_URLS, ProviderType
from runestone_operator.api.resource import API_VERSION
from runestone_operator.cli.failure import USAGE, CommandError
from runestone_operator.cli.source.document import Node
from runestone_operator.cli.source.files import Contents, Document
from runestone_operator.cli.source.world import DEFAULT_NAMESPACE
from runestone_operator.compiler.inputs import fact_of
from runestone_operator.compiler.prices import KNOWN_MODELS

NAME: Final = "default"
CLIENT_KEY: Final = "RUNESTONE_API_KEY"
ROUTER_POLICY: Final = "RUNESTONE_ROUTER_POLICY"
MAX_CONCURRENT: Final = "MAX_CONCURRENT_PER_TENANT"
_POLICIES: Final = {"default": "Default", "cost": "Cost"}
_CLIENT_SECRET: Final = "client-key"
_SECRET_ENTRY: Final = "api-key"
_CLAUDE: Final = "claude-"

# Names without a date that Anthropic's API does not know.
_DATED: Final = {
    "claude-3-opus": "claude-3-opus-20240229",
    "claude-3-haiku": "claude-3-haiku-20240307",
    "claude-3-5-sonnet": "claude-3-5-sonnet-20241022",
    "claude-3-5-haiku": "claude-3-5-haiku-20241022",
    "claude-3-7-sonnet": "claude-3-7-sonnet-20250219",
    "claude-sonnet-4": "claude-sonnet-4-20250514",
    "claude-opus-4": "claude-opus-4-20250514",
}

NOTHING_GIVEN: Final = """\
there is nothing to serve yet. Either give a provider's key:
    OPENAI_API_KEY=sk-... runestone run            (or ANTHROPIC_API_KEY, or both)
or resources as files:
    runestone run -f my-resources/"""


@dataclass(frozen=True, slots=True)
class _Vendor:
    name: str
    type: ProviderType
    key_variable: str
    url_variable: str


_VENDORS: Final = (
    _Vendor("openai", ProviderType.OPENAI, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    _Vendor("anthropic", ProviderType.ANTHROPIC, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
)


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    env: Mapping[str, str]
    port: int  # our own: a base URL that leads back to it would go round for ever

    def read(self) -> Contents:
        """Raises CommandError where a variable is missing or cannot be meant."""
        vendors = [vendor for vendor in _VENDORS if self.env.get(vendor.key_variable)]
        if not vendors:
            raise CommandError(NOTHING_GIVEN, exit_code=USAGE)
        documents = [
            *(self._provider_secret(vendor) for vendor in vendors),
            self._pool(vendors),
            *self._client_key(),
            self._policy(),
        ]
        return Contents(documents)

    def _provider_secret(self, vendor: _Vendor) -> Document:
        return _secret(vendor.key_variable, vendor.name, self.env[vendor.key_variable])

    def _pool(self, vendors: list[_Vendor]) -> Document:
        origin = ", ".join(vendor.key_variable for vendor in vendors)
        providers = [self._provider(vendor) for vendor in vendors]
        return _document(origin, "ProviderPool", NAME, {"providers": providers})

    def _provider(self, vendor: _Vendor) -> dict[str, Any]:
        return {
            "name": vendor.name,
            "type": vendor.type.value,
            "baseURL": self._base_url(vendor),
            "credentials": [{"secretRef": {"name": vendor.name, "key": _SECRET_ENTRY}}],
            "models": [*_models(vendor.type)],
        }

    def _base_url(self, vendor: _Vendor) -> str:
        """As the vendor's own SDK takes it from the environment."""
        url = self.env.get(vendor.url_variable) or VENDOR_URLS[vendor.type]
        try:
            parts = urllib.parse.urlsplit(url)
            leads_back = parts.port == self.port and _is_this_machine(parts.hostname or "")
        except ValueError:
            leads_back = False
        if leads_back:
            message = f"{vendor.url_variable} leads to this gateway itself: unset it here"
            raise CommandError(message, exit_code=USAGE)
        return url

    def _client_key(self) -> Iterator[Document]:
        spec: dict[str, Any] = {"tenant": NAME}
        origins = [name for name in (CLIENT_KEY, MAX_CONCURRENT) if self.env.get(name)]
        if key := self.env.get(CLIENT_KEY):
            if not fact_of(key.encode()).client_key:
                message = f"{CLIENT_KEY} must be sk- and 21 or more letters, digits, - or _"
                raise CommandError(message, exit_code=USAGE)
            yield _secret(CLIENT_KEY, _CLIENT_SECRET, key)
            spec["secretRef"] = {"name": _CLIENT_SECRET, "key": _SECRET_ENTRY}
        if text := self.env.get(MAX_CONCURRENT):
            if not text.isascii() or not text.isdigit():
                raise CommandError(f"{MAX_CONCURRENT} must be a whole number", exit_code=USAGE)
            spec["limits"] = {"concurrentRequests": int(text)}
        yield _document(", ".join(origins) or "environment", "ApiKey", NAME, spec)

    def _policy(self) -> Document:
        wanted = self.env.get(ROUTER_POLICY) or "default"
        if wanted not in _POLICIES:
            message = f"{ROUTER_POLICY} must be default or cost"
            raise CommandError(message, exit_code=USAGE)
        spec = {
            "default": True,
            "policy": _POLICIES[wanted],
            "rules": [{"name": "everything", "targets": [{"pool": NAME}]}],
        }
        return _document(ROUTER_POLICY, "RoutingPolicy", NAME, spec)


def _models(dialect: ProviderType) -> Iterator[dict[str, str]]:
    for name in KNOWN_MODELS:
        if name.startswith(_CLAUDE) == (dialect is ProviderType.ANTHROPIC):
            dated = {"upstreamName": _DATED[name]} if name in _DATED else {}
            yield {"name": name} | dated


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _document(origin: str, kind: str, name: str, spec: Mapping[str, Any]) -> Document:
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": _metadata(name), "spec": spec}
    return Document(origin, _node(body))


def _secret(origin: str, name: str, value: str) -> Document:
    data = {_SECRET_ENTRY: value.strip()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(name), "stringData": data}
    return Document(origin, _node(body))


def _metadata(name: str) -> dict[str, str]:
    return {"name": name, "namespace": DEFAULT_NAMESPACE}


def _node(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Node(0, {key: _node(item) for key, item in value.items()})
    if isinstance(value, list):
        return Node(0, [_node(item) for item in value])
    return Node(0, value)
