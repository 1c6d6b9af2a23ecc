"""The bus, and what parts that listen are told of requests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_contract.canonical import digest
from runestone_contract.config import Limits
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.telemetry.events import Event, Events, EventType
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import CHAT, Gateway, gateway, question
from runestone_testing.provider import SSE, chunk, event, head, json_reply
from runestone_testing.story import END, PIECE, STREAM, UNKNOWN_KEY, events_in

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_contract.config import Config

NAMES = """
router.decide router.route_error ratelimit.check ratelimit.allow ratelimit.block
provider.request_start provider.request_stop provider.request_error
overflow.enqueue overflow.drain_start overflow.drain_stop overflow.webhook overflow.dead_letter
auth.success auth.failure auth.invalid_key circuit.open circuit.close circuit.half_open
stream.chunk stream.complete stream.error cache.hit cache.miss cache.store cache.evict
config.reload config.reject
"""
OK = json_reply(completion("fine"))
SOME = EventType.CACHE_HIT


def test_there_are_exactly_these_28_types() -> None:
    assert [*EventType] == NAMES.split()
    assert len(EventType) == 28
    assert all(each.meaning.endswith(".") for each in EventType)


def test_a_subscriber_is_told_of_what_it_asked_for() -> None:
    events, heard = Events(), list[Event]()
    events.subscribe(heard.append, SOME, EventType.CACHE_MISS)
    for each in (SOME, EventType.CACHE_STORE, EventType.CACHE_MISS):
        events.emit(each, provider="p", reason="r")
    assert heard == [
        Event(SOME, None, "p", "r"),
        Event(EventType.CACHE_MISS, None, "p", "r"),
    ]
    assert [name for name, count in events.counts.items() if count] == [
        EventType.CACHE_HIT,
        EventType.CACHE_MISS,
        EventType.CACHE_STORE,
    ]


def test_nothing_is_made_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    events.subscribe(lambda _: None, EventType.CACHE_MISS)

    def made(*_: object) -> None:
        raise AssertionError("an event was made")

    monkeypatch.setattr("runestone_sidecar.telemetry.events.Event", made)
    events.emit(SOME)
    with pytest.raises(AssertionError, match="was made"):
        events.emit(EventType.CACHE_MISS)


def test_a_subscriber_that_fails_is_counted_and_told_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 0.0
    events, heard = Events(clock=lambda: now_s), list[Event]()

    def fails(_: Event) -> None:
        raise ValueError("broken")

    events.subscribe(fails, SOME)
    events.subscribe(heard.append, SOME)
    for _ in range(100):
        events.emit(SOME)
    assert (events.failures, len(heard), events.counts[SOME]) == (100, 100, 100)
    assert [record.getMessage() for record in caplog.records] == [
        "a subscriber to cache.hit failed (1 times so far)"
    ]
    now_s = 61.0
    events.emit(SOME)
    assert len(caplog.records) == 2


def limited(url: str) -> Config:
    key = bundles.key(limits=Limits(requests_per_minute=1).model_dump())
    return bundles.config(bundles.provider(f"{url}/v1"), keys=(key,))


def listen(found: Gateway) -> list[Event]:
    """To all but chunks."""
    heard: list[Event] = []
    wanted = [each for each in EventType if each != EventType.STREAM_CHUNK]
    found.parts.traffic.events.subscribe(heard.append, *wanted)
    return heard


async def test_events_of_a_request_come_in_order_with_its_record(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one, gateway(tmp_path, limited(one.url)) as found:
        heard = listen(found)
        assert (await found.client.get("/models")).status_code == 200
        heard.clear()
        answer = await found.chat()
        assert (await found.chat()).status_code == 429
    assert [each.type for each in heard] == [
        "auth.success",
        "router.decide",
        "ratelimit.check",
        "ratelimit.allow",
        "provider.request_start",
        "provider.request_stop",
        "auth.success",
        "router.decide",
        "ratelimit.check",
        "ratelimit.block",
    ]
    records = [each.record for each in heard]
    assert all(isinstance(record, Record) for record in records)
    assert {record.request_id for record in records[:6] if record} == {
        answer.headers["x-request-id"]
    }
    assert heard[5].provider == "shop/pool/main"
    assert heard[-1].reason == "requests_per_minute"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(json_reply({}, status=500), "status_500", id="refused"),
        pytest.param([scripts.reset()], "lost_before_head", id="lost"),
        pytest.param(json_reply([1]), "bad_reply", id="nonsense"),
    ],
)
async def test_a_failed_call_is_told_with_its_outcome(
    tmp_path: Path, answer: scripts.Answer, reason: str
) -> None:
    async with scripts.Provider(answer) as one:
        async with gateway(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
            heard = listen(found)
            await found.chat()
    assert (heard[-1].type, heard[-1].reason) == ("provider.request_error", reason)


async def test_chunks_are_told_to_who_asks_and_counted_for_all(tmp_path: Path) -> None:
    cut: scripts.Script = [
        head(content_type=SSE),
        chunk(event(PIECE) + event(END)),
        scripts.reset(),
    ]
    async with scripts.Provider(STREAM) as one:
        async with gateway(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
            events = found.parts.traffic.events
            unheard = await found.chat(stream=True)
            assert events.counts[EventType.STREAM_CHUNK] == 4
            heard: list[Event] = []
            events.subscribe(heard.append, EventType.STREAM_CHUNK, EventType.STREAM_ERROR)
            answer = await found.chat(stream=True)
            assert answer.content == unheard.content
            assert sum(each.count for each in heard) == 4
            assert {each.record.request_id for each in heard if each.record} == {
                answer.headers["x-request-id"]
            }
            one.answer = cut
            heard.clear()
            async with found.client.stream("POST", CHAT, json=question(stream=True)) as reply:
                with pytest.raises(httpx.RemoteProtocolError):
                    await reply.aread()
            assert [(each.type, each.count, each.reason) for each in heard] == [
                ("stream.chunk", 2, None),
                ("stream.error", 1, "lost_mid_body"),
            ]
            assert events.counts[EventType.STREAM_CHUNK] == 10


async def test_a_subscriber_that_fails_harms_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Event) -> None:
        raise RuntimeError

    async with scripts.Provider(STREAM) as one, gateway(tmp_path, limited(one.url)) as found:
        found.parts.traffic.events.subscribe(fails, *EventType)
        with caplog.at_level(logging.ERROR):
            answer = await found.chat(stream=True)
        metrics, failures = found.metrics(), found.parts.traffic.events.failures
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert failures > 7  # of seven types, and a few chunks
    assert f"runestone_event_subscriber_failures_total {failures}.0" in metrics
    assert len(caplog.records) == 1
    assert events_in(metrics)["stream.complete"] == 1


async def test_a_key_that_was_rotated_out_is_a_failure_and_a_strange_one_is_not_known(
    tmp_path: Path,
) -> None:
    hashes = [{"sha256": digest(bundles.CLIENT_KEY.encode()), "not_after_s": 1}]
    config = bundles.config(keys=(bundles.key(fields={"hashes": hashes}),))
    async with gateway(tmp_path, config, audit=str(tmp_path / "audit")) as found:
        heard = listen(found)
        await found.client.get("/models")
        await found.client.get("/models", headers={"authorization": f"Bearer {UNKNOWN_KEY}"})
        await found.client.get("/models", headers={"authorization": "Basic hunter2"})
        await found.client.get("/models", headers={"authorization": "Bearer " + "x" * 600})
    assert [(each.type, getattr(each.record, "presented", "")) for each in heard] == [
        ("auth.failure", "shop/app"),
        ("auth.invalid_key", "sk-rs-no…"),
        ("auth.failure", None),
        ("auth.invalid_key", None),
    ]
