"""What waiting adds to the metrics: counted by key and outcome, bounded by the configuration."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from runestone_sidecar.telemetry.traffic import MAX_LABEL_SETS
from runestone_sidecar.telemetry.waits import ADMITTED, LEFT, Waits


def exposed(waits: Waits) -> str:
    registry = CollectorRegistry()
    registry.register(waits)
    return generate_latest(registry).decode()


def test_what_is_shown() -> None:
    waits = Waits()
    for _ in range(3):
        waits.begin("shop/a")
    waits.end("shop/a", ADMITTED, 0.3)
    waits.end("shop/a", LEFT, 40.0)
    waits.turn_away("shop/b")
    text = exposed(waits)
    for line in (
        'runestone_waiting_requests{api_key="shop/a"} 1.0',
        'runestone_waiting_ended_total{api_key="shop/a",outcome="admitted"} 1.0',
        'runestone_waiting_ended_total{api_key="shop/a",outcome="left"} 1.0',
        'runestone_waiting_ended_total{api_key="shop/b",outcome="full"} 1.0',
        'runestone_waiting_seconds_bucket{le="0.5",outcome="admitted"} 1.0',
        'runestone_waiting_seconds_sum{outcome="left"} 40.0',
    ):
        assert line in text


def test_keys_that_are_gone_are_forgotten_once_they_add_up() -> None:
    waits = Waits()
    waits.begin("shop/waits-still")
    for number in range(MAX_LABEL_SETS - 1):
        waits.begin(f"shop/{number}")
        waits.end(f"shop/{number}", ADMITTED, 0.1)
    waits.prune({"shop/1"})
    assert len(waits.ended) == MAX_LABEL_SETS - 1  # they are still to be fetched
    waits.turn_away("shop/2")
    waits.prune({"shop/1"})
    assert set(waits.ended) == {("shop/1", ADMITTED)}
    assert dict(waits.waiting) == {"shop/waits-still": 1, "shop/1": 0}
