"""The decision over one pod: whether it gets a sidecar, why not, or that it has it already.

What a pod asks for itself it gets, or it is refused: it never runs without in silence. What its
namespace asks for it goes without where it cannot be, and says so in an annotation. Injecting is
idempotent: what other webhooks have changed about our container since then stays.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from runestone_contract.canonical import canonical, digest
from runestone_contract.names import INJECT_LABEL
from runestone_operator.inject.environment import brings_a_key, with_environment
from runestone_operator.inject.facts import (
    Admitted,
    Facts,
    Kind,
    Outcome,
    Pod,
    Refused,
    UnfitError,
)
from runestone_operator.inject.names import (
    INJECTED_ANNOTATION,
    KEY_ANNOTATION,
    MIRROR_ANNOTATION,
    SIDECAR,
    SKIPPED_ANNOTATION,
    VOLUMES,
)
from runestone_operator.inject.obstacle import containers, find_obstacle, foreign_volume
from runestone_operator.inject.sidecar import build_sidecar, build_volumes
from runestone_operator.settings import SidecarSettings

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_MARK_LENGTH: Final = 12
DEFAULT_ACCOUNT: Final = "default"


def key_name(pod: Pod, namespace_annotations: Mapping[str, str]) -> str | None:
    """Of the ApiKey that the pod is to act as, whether there is one or not."""
    return _annotations(pod).get(KEY_ANNOTATION) or namespace_annotations.get(KEY_ANNOTATION)


def is_key_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def account_name(pod: Pod) -> str:
    return str(pod["spec"].get("serviceAccountName") or DEFAULT_ACCOUNT)


def inject(pod: Pod, facts: Facts, settings: SidecarSettings) -> Outcome:
    label = _labels(pod).get(INJECT_LABEL)
    asked = facts.asks if label is None else label == "true"
    if label not in {None, "true", "false"}:
        return Refused(f'label {INJECT_LABEL} must be "true" or "false"')
    if not asked or MIRROR_ANNOTATION in _annotations(pod):
        return Admitted(Kind.UNCHANGED, pod)
    if _brings_its_own(pod):
        why = f"a container named {SIDECAR} is there already: no Runestone sidecar is added"
        return Admitted(Kind.UNCHANGED, pod, (why,))
    try:
        obstacle = find_obstacle(pod) or (None if _is_injected(pod) else foreign_volume(pod))
        if obstacle is None:
            return _injected(pod, facts, settings)
        if label == "true":
            raise UnfitError(obstacle)
    except UnfitError as unfit:
        return Refused(unfit.reason)
    return _skipped(pod, obstacle)


def _injected(pod: Pod, facts: Facts, settings: SidecarSettings) -> Admitted:
    _check_key(pod, facts)
    spec, mark = pod["spec"], _annotations(pod).get(INJECTED_ANNOTATION)
    sidecar, volumes = build_sidecar(pod, settings), build_volumes()
    wanted = digest(canonical([sidecar, volumes]))[:_MARK_LENGTH]
    first, there = list(spec.get("initContainers") or ()), list(spec.get("volumes") or ())
    if mark != wanted or not has_sidecar(pod):
        first = [sidecar, *(other for other in first if other["name"] != SIDECAR)]
        there = [*(other for other in there if other["name"] not in VOLUMES), *volumes]
    made = {
        **pod,
        "metadata": {
            **pod["metadata"],
            "labels": {**_labels(pod), INJECT_LABEL: "true"},
            "annotations": {**_annotations(pod), INJECTED_ANNOTATION: wanted},
        },
        "spec": {
            **spec,
            "initContainers": with_environment(first, facts.key),
            "containers": with_environment(list(spec["containers"]), facts.key),
            "volumes": there,
        },
    }
    return Admitted(Kind.INJECTED, made, tuple(_warnings(pod, facts)))


def _check_key(pod: Pod, facts: Facts) -> None:
    """That requests will be let in. A namespace's pods may come without: not all of them talk to
    models."""
    name = _annotations(pod).get(KEY_ANNOTATION)
    if name is not None and not is_key_name(name):
        raise UnfitError(f"annotation {KEY_ANNOTATION} must be the name of an ApiKey")
    if _labels(pod).get(INJECT_LABEL) != "true" or _is_injected(pod) or _has_key(pod, facts):
        return
    raise UnfitError(
        f"annotation {KEY_ANNOTATION} is needed: it names the ApiKey, of the pod's namespace, that"
        f" the pod acts as (or an ApiKey lists the service account {account_name(pod)} under"
        " serviceAccounts, or a container sets OPENAI_API_KEY itself)"
    )


def _has_key(pod: Pod, facts: Facts) -> bool:
    if facts.key is not None or facts.account_has_key:
        return True
    return any(brings_a_key(container) for container in containers(pod["spec"]))


def _warnings(pod: Pod, facts: Facts) -> Iterator[str]:
    if facts.key is not None and not facts.key.is_known:
        yield (
            "the ApiKey does not exist (yet): the pod's containers wait until Secret"
            f" {facts.key.secret} is there"
        )
    if not _has_key(pod, facts):
        yield (
            f"no ApiKey is named by {KEY_ANNOTATION} or lists the service account"
            f" {account_name(pod)}: requests to models will be refused"
        )
    spec = pod["spec"]
    if spec.get("shareProcessNamespace") or spec.get("hostPID"):
        yield "processes see each other in this pod: others may read the sidecar's files"


def _skipped(pod: Pod, why: str) -> Admitted:
    annotations = {**_annotations(pod), SKIPPED_ANNOTATION: why}
    made = {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}
    return Admitted(Kind.SKIPPED, made, (f"not injected: {why}",))


def has_sidecar(pod: Pod) -> bool:
    """Whoever put it there: the shared gateway, say, brings its own."""
    spec = pod.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return any(container.get("name") == SIDECAR for container in every)


def _is_injected(pod: Pod) -> bool:
    return has_sidecar(pod) and INJECTED_ANNOTATION in _annotations(pod)


def _brings_its_own(pod: Pod) -> bool:
    return has_sidecar(pod) and INJECTED_ANNOTATION not in _annotations(pod)


def _labels(pod: Pod) -> dict[str, str]:
    return pod["metadata"].get("labels") or {}


def _annotations(pod: Pod) -> dict[str, str]:
    return pod["metadata"].get("annotations") or {}
