"""Where sidecars serve their metrics, as Prometheus asks for it (`http_sd_configs`).

So it finds those of all namespaces without a right to list pods, and without a label of theirs that
somebody could have forgotten: what the operator counts as a sidecar is what is scraped.
"""

from collections.abc import Iterator
from typing import Any

from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import PodView
from runestone_operator.kinds import POD


def sidecar_targets(cache: Cache, port: int) -> list[dict[str, Any]]:
    """One group a pod, by namespace and name."""
    return [
        {
            "targets": [f"{_host(pod)}:{port}"],
            "labels": {"namespace": pod.namespace, "pod": pod.name},
        }
        for pod in sorted(_pods(cache), key=lambda pod: (pod.namespace, pod.name))
    ]


def _pods(cache: Cache) -> Iterator[PodView]:
    for view in cache.everywhere(POD):
        if isinstance(view, PodView) and view.is_reachable:
            yield view


def _host(pod: PodView) -> str:
    ip = pod.ip or ""
    return f"[{ip}]" if ":" in ip else ip
