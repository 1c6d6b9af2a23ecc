"""Whom the watchdog finds among the pods that the watch has told of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.aio.client import Configuration

from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import build_view
from runestone_operator.kinds import POD
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube
from runestone_operator.watch.watchdog import Watchdog
from runestone_testing.resources import pod

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def kube() -> AsyncIterator[Kube]:
    """Of an API server that is away: Events come to nothing."""
    made = Kube(Configuration(host="http://127.0.0.1:1"), Metrics())
    yield made
    await made.close()


def document(name: str, *, bare: bool = True, **status: Any) -> dict[str, Any]:
    made = pod("shop", name)
    made["metadata"] |= {"uid": name, "resourceVersion": "1"}
    if bare:
        del made["spec"]["initContainers"]
    return made | {"status": status}


async def test_pods_that_are_there_and_run_without(
    kube: Kube, caplog: pytest.LogCaptureFixture
) -> None:
    cache, metrics = Cache(), Metrics()
    watchdog = Watchdog(kube, cache, metrics)
    for one in (
        document("bare"),
        document("pending", phase="Pending"),
        document("over", phase="Succeeded"),
        document("whole", bare=False),
    ):
        cache.put(build_view(POD, one))

    for _ in range(2):  # they are told once
        await watchdog.look()
    told = [record for record in caplog.records if "runs without" in record.getMessage()]
    assert [vars(record)["pod"] for record in told] == ["bare", "pending"]
    assert metrics.registry.get_sample_value("runestone_operator_uninjected_pods") == 2

    cache.remove(POD, "shop", "bare", 2)
    await watchdog.look()
    assert metrics.registry.get_sample_value("runestone_operator_uninjected_pods") == 1


async def test_whose_turn_is_over_counts_none(kube: Kube) -> None:
    cache, metrics = Cache(), Metrics()
    cache.put(build_view(POD, document("bare")))
    gauge = "runestone_operator_uninjected_pods"
    serving = asyncio.create_task(Watchdog(kube, cache, metrics).serve(3600))
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value(gauge) != 1:
            await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.wait([serving])
    assert metrics.registry.get_sample_value(gauge) == 0
