from __future__ import annotations

from typing import Any

from runestone_operator.collect.cache import Cache
from runestone_operator.watch.discovery import sidecar_targets
from runestone_testing.bodies import view
from runestone_testing.resources import pod

Body = dict[str, Any]


def running(namespace: str, name: str, ip: str) -> Body:
    return pod(namespace, name) | {"status": {"phase": "Running", "podIP": ip}}


def targets(*bodies: Body) -> list[tuple[str, str, str]]:
    cache = Cache()
    for version, body in enumerate(bodies, 1):
        cache.put(view(body, version=version))
    found = sidecar_targets(cache, 4004)
    return [
        (one["labels"]["namespace"], one["labels"]["pod"], target)
        for one in found
        for target in one["targets"]
    ]


def test_sidecars_of_all_namespaces_are_told_in_one_order() -> None:
    shop, lab = running("shop", "web", "10.0.0.2"), running("lab", "web", "fd00::7")

    wanted = [("lab", "web", "[fd00::7]:4004"), ("shop", "web", "10.0.0.2:4004")]
    assert targets(shop, lab) == targets(lab, shop) == wanted


def test_a_pod_that_does_not_serve_is_no_target() -> None:
    over = pod("shop", "over") | {"status": {"phase": "Succeeded", "podIP": "10.0.0.3"}}
    without = running("shop", "without", "10.0.0.4")
    without["spec"] = {"containers": [{"name": "app", "image": "app"}]}

    assert targets(pod("shop", "pending"), over, without) == []
