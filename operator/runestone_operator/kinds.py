"""The Kubernetes kinds that the operator deals with, and how the API server addresses them."""

from dataclasses import dataclass
from typing import Final

from runestone_contract.names import GROUP


@dataclass(frozen=True, slots=True, eq=False)  # each exists once, and is compared by identity
class Kind:
    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Of the collection, or of one object; names are as the API server gave them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")


VERSION: Final = "v1alpha1"
POOL: Final = Kind("ProviderPool", "providerpools", GROUP, VERSION)
KEY: Final = Kind("ApiKey", "apikeys", GROUP, VERSION)
POLICY: Final = Kind("RoutingPolicy", "routingpolicies", GROUP, VERSION)
SECRET: Final = Kind("Secret", "secrets")
CONFIG_MAP: Final = Kind("ConfigMap", "configmaps")
POD: Final = Kind("Pod", "pods")
NAMESPACE: Final = Kind("Namespace", "namespaces", namespaced=False)
EVENT: Final = Kind("Event", "events", "events.k8s.io")
MUTATING: Final = Kind(
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    "admissionregistration.k8s.io",
    namespaced=False,
)
VALIDATING: Final = Kind(
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    "admissionregistration.k8s.io",
    namespaced=False,
)
LEASE: Final = Kind("Lease", "leases", "coordination.k8s.io")

RESOURCES: Final = (POOL, KEY, POLICY)
WATCHED: Final = (*RESOURCES, SECRET, CONFIG_MAP, POD, NAMESPACE)
