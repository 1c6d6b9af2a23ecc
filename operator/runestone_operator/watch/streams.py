"""How Kopf is set up: what it watches of the cluster, how patiently, and what it must not do."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import kopf

from runestone_contract.names import INJECT_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from runestone_operator.kinds import CONFIG_MAP, POD, SECRET, Kind

LABEL: Final = "labelSelector"
FIELD: Final = "fieldSelector"

# What no resource can mean: whole Helm releases, tokens and registry passwords do not come here.
_SKIPPED_SECRETS: Final = (
    "helm.sh/release.v1",
    "kubernetes.io/service-account-token",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "bootstrap.kubernetes.io/token",
)
# The API server selects, so that the rest of the cluster is never sent.
SELECTORS: Final[dict[Kind, tuple[str, str]]] = {
    POD: (LABEL, f"{INJECT_LABEL},{INJECT_LABEL}!=false"),  # one with a slip asks as well
    CONFIG_MAP: (LABEL, f"{MANAGED_BY_LABEL}={MANAGED_BY}"),
    SECRET: (FIELD, ",".join(f"type!={type_}" for type_ in _SKIPPED_SECRETS)),
}


class _Forever:
    """Pauses between tries of a list or a watch. Kopf ends the process when they are used up."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2)
        while True:
            yield 4


class _NoCopies(kopf.DiffBaseStorage):
    """Kopf makes a deep copy of every object to find what changed, for handlers that we have none
    of: half of what an event costs. It stores none either, whatever handlers there may come."""

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # it would post log lines as Events
    settings.scanning.disabled = True  # the kinds are fixed, and namespaces are watched by us
    settings.peering.standalone = True  # two operators write the same bytes
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Forever()
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.inactivity_timeout = 70  # bookmarks come each minute: the stream is dead
    settings.watching.chunk_size = 500
    settings.persistence.diffbase_storage = _NoCopies()
    settings.process.ultimate_exiting_timeout = 30
    for kind, (how, selector) in SELECTORS.items():
        watching = settings.watching
        selectors = watching.label_selectors if how == LABEL else watching.field_selectors
        selectors[kind.group, kind.version, kind.plural] = selector
    return settings
