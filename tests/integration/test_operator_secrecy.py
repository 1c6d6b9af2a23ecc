"""No key leaves its Secret: not by a log line, a status, an Event, an annotation or a ConfigMap."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.operators import KINDS, Cluster, OperatorProcess, eventually, settled
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kube

PROVIDER = "canary-provider-0123456789abcdef"  # in a form that no log masks
SPACED = "canary provider of two words"
BROUGHT = "sk-canary-brought-0123456789abcdefghij"
WEBHOOK = "whsec_canaryWebhook0123456789abcdefghi"
NOT_A_KEY = "canary-that-is-no-key"


@pytest.fixture(scope="module")
def operator_env() -> dict[str, str]:
    return {"LOG_LEVEL": "debug"}


def told_by_the_cluster(cluster: Cluster) -> Iterator[str]:
    """All that can be read there without reading the content of a Secret."""
    for kind in KINDS:
        for item in cluster.list(kind):
            visible: dict[str, Any] = dict(item)
            if kind == "Secret":
                visible.pop("data", None)
            yield json.dumps(visible)


def test_no_key_is_told(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    values = {"good": PROVIDER, "spaced": SPACED}
    for document in (
        secret(namespace, **values),
        secret(namespace, "brought", api_key=BROUGHT),
        secret(namespace, "twice", api_key=BROUGHT),
        secret(namespace, "bad", api_key=NOT_A_KEY),
        secret(namespace, "hook", secret=WEBHOOK),
        pool(namespace, secret="openai"),
        policy(namespace),
        key(namespace),
        key(namespace, "brought", secretRef={"name": "brought", "key": "api-key"}),
        key(namespace, "twice", secretRef={"name": "twice", "key": "api-key"}),
        key(namespace, "bad", secretRef={"name": "bad", "key": "api-key"}),
        key(
            namespace,
            "hooked",
            overflow={
                "webhooks": {
                    "allowedURLs": ["https://hooks.example.com/*"],
                    "secretRef": {"name": "hook", "key": "secret"},
                }
            },
        ),
    ):
        cluster.apply(document)
    provider = cluster.get("ProviderPool", namespace, "pool") or {}
    provider["spec"]["providers"][0]["credentials"] = [
        {"secretRef": {"name": "openai", "key": entry}} for entry in values
    ]
    cluster.patch("ProviderPool", namespace, "pool", {"spec": provider["spec"]})
    settled(cluster, namespace)
    cluster.patch("ConfigMap", namespace, "runestone-config-0", {"data": {"shard-0.jsonl": "x"}})
    cluster.patch("Secret", namespace, "runestone-credentials", {"data": {"more": "eA=="}})
    eventually("repaired", lambda: cluster.is_published(namespace))
    generated = cluster.secret_values(namespace, "client-api-key")["api-key"].decode()
    cluster.quiet_versions(namespace)
    assert PROVIDER.encode() in cluster.credentials(namespace)

    told = "\n".join(
        [
            *told_by_the_cluster(cluster),
            operator.log.read_text(),
            operator.read("/metrics") or "",
            operator.read("/healthz") or "",
            *(
                Path(f"/proc/{operator.process.pid}/{file}").read_text()
                for file in ("cmdline", "environ")
            ),
        ]
    )

    assert namespace in told
    secrets = [PROVIDER, SPACED, BROUGHT, WEBHOOK, NOT_A_KEY, generated]
    encoded = [base64.b64encode(value.encode()).decode().rstrip("=") for value in secrets]
    assert [value for value in (*secrets, *encoded) if value in told] == []
