"""Objects of the cluster as typed values that hold what matters to us and nothing else.

Equal views mean that nothing which matters has changed: the version does not take part. The values
of Secrets stop here: what goes on is facts about them (a hash, a length), never a value.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runestone_contract.names import (
    CONFIG_ANNOTATION,
    CREDENTIALS_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
)
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.resource import ApiKey, Resource
from runestone_operator.collect.history import KeyHistory, epoch_s, parse_history
from runestone_operator.compiler.inputs import GENERATED_KEY_SUFFIX, ValueFact, fact_of
from runestone_operator.inject.inject import has_sidecar
from runestone_operator.inject.names import KEY_ANNOTATION
from runestone_operator.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    POD,
    RESOURCES,
    SECRET,
    Kind,
)

Body = Mapping[str, Any]
MARKS = (CONFIG_ANNOTATION, CREDENTIALS_ANNOTATION)
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class View:
    kind: Kind
    namespace: str  # "" for what is in none
    name: str
    uid: str
    version: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class ResourceView(View):
    resource: Resource | Rejected
    generation: int
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SecretView(View):
    facts: Mapping[str, ValueFact]
    owner_uid: str | None  # of the object that controls it
    is_managed: bool
    history: KeyHistory | None = None  # of the client key in it, where an ApiKey controls it


@dataclass(frozen=True, slots=True)
class ConfigMapView(View):
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PodView(View):
    ip: str | None
    is_running: bool  # and not about to end
    marks: Mapping[str, str]  # the annotations that wake kubelet
    has_sidecar: bool
    is_over: bool = False  # it has ended, or is about to
    created_s: int = 0
    env_secrets: frozenset[str] = frozenset()  # generated keys that its containers got at start

    @property
    def is_reachable(self) -> bool:
        """It has a sidecar, and an address to ask it at."""
        return self.has_sidecar and self.is_running and self.ip is not None


@dataclass(frozen=True, slots=True)
class NamespaceView(View):
    labels: Mapping[str, str]
    annotations: Mapping[str, str]  # ours: others' change for reasons of their own
    is_ending: bool


def build_view(kind: Kind, body: Body) -> View:
    meta = body["metadata"]
    head = (
        kind,
        str(meta.get("namespace", "")),
        str(meta["name"]),
        str(meta.get("uid", "")),
        int(meta["resourceVersion"]),
    )
    return _BUILDERS[kind](head, body)


_Head = tuple[Kind, str, str, str, int]  # what every View begins with


def _resource(head: _Head, body: Body) -> View:
    return ResourceView(
        *head,
        resource=parse(body),
        generation=int(body["metadata"].get("generation", 0)),
        status=body.get("status") or {},
    )


def _secret(head: _Head, body: Body) -> View:
    meta = body["metadata"]
    return SecretView(
        *head,
        facts=_facts(body.get("data") or {}),
        owner_uid=_controller(meta),
        is_managed=is_managed(meta),
        history=parse_history(meta) if _controller(meta, ApiKey.kind) else None,
    )


def _config_map(head: _Head, body: Body) -> View:
    return ConfigMapView(*head, data=dict(body.get("data") or {}))


def _pod(head: _Head, body: Body) -> View:
    meta, status = body["metadata"], body.get("status") or {}
    annotations = meta.get("annotations") or {}
    return PodView(
        *head,
        ip=status.get("podIP") or None,
        is_running=status.get("phase") == "Running" and "deletionTimestamp" not in meta,
        marks={name: value for name, value in annotations.items() if name in MARKS},
        created_s=epoch_s(meta.get("creationTimestamp")),
        env_secrets=frozenset(_env_secrets(body.get("spec") or {})),
        has_sidecar=has_sidecar(body),
        is_over=status.get("phase") in _OVER or "deletionTimestamp" in meta,
    )


def _namespace(head: _Head, body: Body) -> View:
    meta = body["metadata"]
    annotations = meta.get("annotations") or {}
    return NamespaceView(
        *head,
        labels=dict(meta.get("labels") or {}),
        annotations={name: annotations[name] for name in (KEY_ANNOTATION,) if name in annotations},
        is_ending="deletionTimestamp" in meta,
    )


_BUILDERS: Final[Mapping[Kind, Callable[[_Head, Body], View]]] = {
    **dict.fromkeys(RESOURCES, _resource),
    SECRET: _secret,
    CONFIG_MAP: _config_map,
    POD: _pod,
    NAMESPACE: _namespace,
}


def _facts(data: Mapping[str, str]) -> Mapping[str, ValueFact]:
    return {key: fact_of(secret_value(text)) for key, text in data.items()}


def secret_value(text: str | None) -> bytes:
    """A value of a Secret's `data`; the API server vouches for its form."""
    try:
        return base64.b64decode(text or "")
    except binascii.Error:
        return b""


def _controller(meta: Mapping[str, Any], kind: str | None = None) -> str | None:
    """The uid of the object that controls this one, if it is of that kind."""
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller") and kind in {None, owner.get("kind")}:
            return str(owner["uid"])
    return None


def _env_secrets(spec: Mapping[str, Any]) -> Iterator[str]:
    """What a container got into its environment stays as it was until it is started anew."""
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        refs = [
            *(
                (each.get("valueFrom") or {}).get("secretKeyRef")
                for each in container.get("env") or ()
            ),
            *(each.get("secretRef") for each in container.get("envFrom") or ()),
        ]
        names = (str(ref.get("name", "")) for ref in refs if ref)
        yield from (name for name in names if name.endswith(GENERATED_KEY_SUFFIX))


def is_managed(meta: Mapping[str, Any]) -> bool:
    return (meta.get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
