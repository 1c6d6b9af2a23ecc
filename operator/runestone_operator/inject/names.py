"""What the injector calls things: in the pod, and in the annotations that steer it."""

from typing import Final

from runestone_contract.names import API_PORT, GROUP, HEALTH_PORT, WEBSOCKET_PORT

SIDECAR: Final = "runestone"  # the container

KEY_ANNOTATION: Final = f"{GROUP}/api-key"  # of a pod; of a namespace, for its pods
LOG_LEVEL_ANNOTATION: Final = f"{GROUP}/log-level"
RESOURCE_ANNOTATIONS: Final = {
    f"{GROUP}/cpu-request": ("requests", "cpu"),
    f"{GROUP}/cpu-limit": ("limits", "cpu"),
    f"{GROUP}/memory-request": ("requests", "memory"),
    f"{GROUP}/memory-limit": ("limits", "memory"),
}
INJECTED_ANNOTATION: Final = f"{GROUP}/injected"  # which sidecar: a digest of what was put in
SKIPPED_ANNOTATION: Final = f"{GROUP}/not-injected"  # why a namespace's wish was not met
MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"  # kubelet's: a copy of a file on a node

CONFIG_VOLUME: Final = "runestone-config"
CREDENTIALS_VOLUME: Final = "runestone-credentials"
NO_TOKEN_VOLUME: Final = "runestone-no-token"
VOLUMES: Final = (CONFIG_VOLUME, CREDENTIALS_VOLUME, NO_TOKEN_VOLUME)

PORTS: Final = (API_PORT, HEALTH_PORT, WEBSOCKET_PORT)
HEALTH_PORT_NAME: Final = "rs-health"  # for a PodMonitor

BASE_URL: Final = f"http://localhost:{API_PORT}/v1"
ANTHROPIC_BASE_URL: Final = f"http://localhost:{API_PORT}"  # its SDKs add the version themselves
