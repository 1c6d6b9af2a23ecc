"""`/mutate-pods`: gathers what has to be known of a pod's surroundings, and has it injected."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_contract.names import INJECT_LABEL
from runestone_operator.admission.review import Answer, Document, Request, build_patch
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import NamespaceView, ResourceView, build_view
from runestone_operator.compiler.inputs import (
    GENERATED_KEY_ENTRY,
    GENERATED_KEY_SUFFIX,
    key_secret,
)
from runestone_operator.errors import KubeError
from runestone_operator.inject.facts import Facts, KeySource, Kind, Refused
from runestone_operator.inject.inject import account_name, inject, is_key_name, key_name
from runestone_operator.kinds import KEY, NAMESPACE
from runestone_operator.kinds import Kind as KubeKind
from runestone_operator.publish.kube import Kube
from runestone_operator.settings import SidecarSettings

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0  # the API server waits for us, and a person for it
ALLOWED: Final = Answer("unchanged")


@dataclass(frozen=True, slots=True)
class PodAdmission:
    cache: Cache
    kube: Kube
    settings: SidecarSettings

    async def answer(self, request: Request) -> Answer:
        pod = request.new
        if request.operation != "CREATE" or request.kind != "Pod" or pod is None:
            return ALLOWED
        if request.subresource:
            return ALLOWED
        outcome = inject(pod, await self._facts(pod, request.namespace), self.settings)
        where = {"namespace": request.namespace, "pod": _name(pod)}
        if isinstance(outcome, Refused):
            log.info("pod refused", extra={**where, "reason": outcome.reason})
            return Answer("refused", reason=f"runestone: {outcome.reason}")
        warnings = tuple(f"runestone: {warning}" for warning in outcome.warnings)
        if outcome.kind is not Kind.UNCHANGED:
            log.info("pod %s", outcome.kind, extra={**where, "warnings": list(outcome.warnings)})
        return Answer(str(outcome.kind), patch=build_patch(pod, outcome.pod), warnings=warnings)

    async def _facts(self, pod: Document, namespace: str) -> Facts:
        place = await self._namespace(namespace)
        name = key_name(pod, {} if place is None else place.annotations)
        if name is not None and not is_key_name(name):
            name = None
        return Facts(
            asks=place is not None and place.labels.get(INJECT_LABEL) == "true",
            key=None if name is None else await self._key(namespace, name),
            account_has_key=name is None and self._has_key(namespace, account_name(pod)),
        )

    async def _namespace(self, name: str) -> NamespaceView | None:
        view = self.cache.namespace(name) or await self._look(NAMESPACE, None, name)
        return view if isinstance(view, NamespaceView) else None

    async def _key(self, namespace: str, name: str) -> KeySource:
        view = self.cache.resource(KEY, namespace, name) or await self._look(KEY, namespace, name)
        resource = view.resource if isinstance(view, ResourceView) else None
        if isinstance(resource, ApiKey):
            source = key_secret(resource)
            return KeySource(source.name, source.key)
        generated = f"{name}{GENERATED_KEY_SUFFIX}"
        return KeySource(generated, GENERATED_KEY_ENTRY, is_known=view is not None)

    def _has_key(self, namespace: str, account: str) -> bool:
        keys = (view.resource for view in self.cache.resources(KEY, namespace))
        return any(account in key.spec.service_accounts for key in keys if isinstance(key, ApiKey))

    async def _look(self, kind: KubeKind, namespace: str | None, name: str) -> Any:
        """What was created a moment ago the watch may not have told yet."""
        try:
            async with asyncio.timeout(LOOK_S):
                return build_view(kind, await self.kube.read(kind, namespace, name))
        except (KubeError, TimeoutError):
            return None


def _name(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return str(meta.get("name") or f"{meta.get('generateName', '')}…")
