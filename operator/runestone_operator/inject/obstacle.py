"""What a pod cannot have a sidecar for, in words for whoever wrote it."""

from collections.abc import Iterator, Mapping
from typing import Any

from runestone_operator.inject.facts import Pod
from runestone_operator.inject.names import PORTS, SIDECAR, VOLUMES

Part = Mapping[str, Any]


def find_obstacle(pod: Pod) -> str | None:
    return next(_obstacles(pod["spec"]), None)


def _obstacles(spec: Part) -> Iterator[str]:
    if _is_windows(spec):
        yield "Windows pods cannot have a Runestone sidecar: its image is for Linux"
    if spec.get("hostNetwork"):
        yield (
            "a pod with hostNetwork: true cannot have a Runestone sidecar: on the node's own"
            " loopback everything on the node could use it, and two such pods would clash"
        )
    for container in containers(spec):
        for port in container.get("ports") or ():
            number = port.get("containerPort")
            if number in PORTS and port.get("protocol", "TCP") == "TCP":
                yield (
                    f"container {container['name']} uses port {number}: the Runestone sidecar"
                    f" needs {', '.join(map(str, PORTS))} for itself"
                )


def foreign_volume(pod: Pod) -> str | None:
    """A volume of the author's that has a name of ours; to be asked of a pod without a sidecar."""
    taken = [volume["name"] for volume in pod["spec"].get("volumes") or ()]
    clash = next((name for name in VOLUMES if name in taken), None)
    return clash and f"the volume name {clash} is the Runestone sidecar's own"


def containers(spec: Part) -> list[Part]:
    """Of the author's: those that are to use the sidecar."""
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return [container for container in every if container["name"] != SIDECAR]


def _is_windows(spec: Part) -> bool:
    selector = spec.get("nodeSelector") or {}
    return "windows" in {(spec.get("os") or {}).get("name"), selector.get("kubernetes.io/os")}
