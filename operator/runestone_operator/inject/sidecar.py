"""The sidecar as a container, and the volumes that it reads its configuration from."""

from typing import Any, Final

from runestone_contract.names import (
    API_PORT,
    CONFIG_MAP,
    CREDENTIALS_SECRET,
    HEALTH_PORT,
    MAX_SHARDS,
    shard_config_map,
)
from runestone_operator.inject.facts import Pod
from runestone_operator.inject.names import (
    CONFIG_VOLUME,
    CREDENTIALS_VOLUME,
    HEALTH_PORT_NAME,
    NO_TOKEN_VOLUME,
    SIDECAR,
)
from runestone_operator.inject.overrides import log_level_of, resources_of
from runestone_operator.settings import SidecarSettings

Part = dict[str, Any]

CONFIG_DIR: Final = "/etc/runestone/config"
CREDENTIALS_DIR: Final = "/etc/runestone/credentials"
TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
USER: Final = 65532
DEFAULT_GRACE_S: Final = 30
LAST_S: Final = 5  # of the grace: to end within it, not at it


def build_sidecar(pod: Pod, settings: SidecarSettings) -> Part:
    """Raises UnfitError where the pod's annotations ask for what cannot be."""
    annotations = pod["metadata"].get("annotations") or {}
    return {
        "name": SIDECAR,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",  # an init container that goes on: a native sidecar
        "ports": [
            {"name": "rs-api", "containerPort": API_PORT, "protocol": "TCP"},
            {"name": HEALTH_PORT_NAME, "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "env": _env(pod, settings, log_level_of(annotations, settings)),
        "resources": resources_of(annotations, settings),
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS_DIR, "readOnly": True},
            # Else the API server mounts the app's token there, which the sidecar has no use for.
            {"name": NO_TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": True},
        ],
        **_probes(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def build_volumes() -> list[Part]:
    """Every shard that there may ever be is listed: a pod's volumes cannot be added to later.

    All sources of a projected volume change at once, and those that are missing (`optional`) come
    when they come. The credentials have a volume of their own.
    """
    config_maps = [CONFIG_MAP, *map(shard_config_map, range(MAX_SHARDS))]
    sources = [{"configMap": {"name": name, "optional": True}} for name in config_maps]
    return [
        {"name": CONFIG_VOLUME, "projected": {"sources": sources}},
        {
            "name": CREDENTIALS_VOLUME,
            "secret": {"secretName": CREDENTIALS_SECRET, "optional": True},
        },
        {"name": NO_TOKEN_VOLUME, "emptyDir": {}},
    ]


def _env(pod: Pod, settings: SidecarSettings, log_level: str) -> list[Part]:
    env: list[Part] = [
        {
            "name": "RUNESTONE_SERVICE_ACCOUNT",
            "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}},
        },
        {"name": "RUNESTONE_DRAIN_SECONDS", "value": str(_drain_s(pod))},
        {"name": "LOG_LEVEL", "value": log_level},
    ]
    if settings.nats_url:
        env.append({"name": "NATS_URL", "value": settings.nats_url})
    named = {variable["name"] for variable in settings.env}
    return [variable for variable in env if variable["name"] not in named] + [
        dict(variable) for variable in settings.env
    ]


def _drain_s(pod: Pod) -> int:
    """The sidecar is told to end when the last container of the app has: what is open then are
    jobs of others, and streams that nobody reads any more. It may take what is left of the grace.
    """
    grace_s = pod["spec"].get("terminationGracePeriodSeconds")
    grace_s = DEFAULT_GRACE_S if grace_s is None else int(grace_s)
    return max(0, min(grace_s - LAST_S, 3600))


def _probes() -> Part:
    def get(path: str, **pace: int) -> Part:
        return {"httpGet": {"path": path, "port": HEALTH_PORT, "scheme": "HTTP"}, **pace}

    return {
        # The next container starts when this one answers: by then it has read what is mounted. It
        # need not have found a configuration: one that never comes would hold the app for ever.
        "startupProbe": get(
            "/health/live", periodSeconds=1, timeoutSeconds=2, failureThreshold=120
        ),
        "readinessProbe": get(
            "/health/ready", periodSeconds=2, timeoutSeconds=2, failureThreshold=3
        ),
        "livenessProbe": get(
            "/health/live", periodSeconds=10, timeoutSeconds=5, failureThreshold=6
        ),
    }
