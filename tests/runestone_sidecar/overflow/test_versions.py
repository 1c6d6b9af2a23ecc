"""Streams and consumers between versions of the sidecar: the newer changes, the older leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.broker.faults import Unfit
from runestone_sidecar.overflow.store import CONFIG_VERSION
from runestone_testing.job_store import OWNER, job_record, job_store

if TYPE_CHECKING:
    from runestone_sidecar.overflow.store import Store

LARGE, SMALL = 2 << 20, 1 << 20


async def stream(store: Store) -> dict[str, Any]:
    """The queue, as the server has it."""
    found = await store.streams._api(f"STREAM.INFO.{store.names.queue}", {})
    config: dict[str, Any] = found["config"]
    return config


async def consumer(store: Store, name: str) -> dict[str, Any]:
    found = await store.streams._api(f"CONSUMER.INFO.{store.names.queue}.{name}", {})
    config: dict[str, Any] = found["config"]
    return config


async def test_an_older_sidecar_leaves_a_newer_ones_stream_as_it_is() -> None:
    async with job_store(max_bytes=SMALL) as older:
        newer = {**await stream(older), "max_bytes": LARGE, "description": "newer"}
        await older.streams.ensure_stream(newer, version=CONFIG_VERSION + 1)
        await older.ensure()
        assert (await stream(older))["max_bytes"] == LARGE
        assert (await stream(older))["description"] == "newer"


async def test_a_newer_sidecar_changes_an_older_ones_stream() -> None:
    async with job_store(max_bytes=SMALL) as newer:
        older = {**await stream(newer), "max_bytes": LARGE, "description": "by hand"}
        await newer.streams._api(f"STREAM.DELETE.{newer.names.queue}", {})
        await newer.streams.ensure_stream(older, version=CONFIG_VERSION - 1)
        await newer.ensure()
        found = await stream(newer)
        assert (found["max_bytes"], found["description"]) == (SMALL, "by hand")


async def test_a_stream_that_cannot_be_changed_is_named() -> None:
    async with job_store() as store:
        config = {**await stream(store), "retention": "limits"}
        await store.streams._api(f"STREAM.DELETE.{store.names.queue}", {})
        await store.streams.ensure_stream(config, version=0)
        with pytest.raises(Unfit) as refused:
            await store.ensure()
        assert refused.value.name == store.names.queue


async def test_a_consumer_is_changed_by_the_newer_and_left_by_the_older() -> None:
    async with job_store() as store:
        store.ack_wait_s = 7
        name = await store.ensure_consumer(OWNER)
        store.ack_wait_s = 8
        await store.ensure_consumer(OWNER)
        assert (await consumer(store, name))["ack_wait"] == 8_000_000_000
        newer = {**await consumer(store, name), "ack_wait": 9_000_000_000}
        await store.streams.ensure_consumer(store.names.queue, newer, version=CONFIG_VERSION + 1)
        await store.ensure_consumer(OWNER)
        assert (await consumer(store, name))["ack_wait"] == 9_000_000_000


async def test_what_was_delivered_is_still_ours_after_a_change_of_the_consumer() -> None:
    async with job_store() as store:
        await store.enqueue(OWNER, job_record(), b"work")
        name = await store.ensure_consumer(OWNER)
        first = await store.streams.next(store.names.queue, name)
        assert first is not None
        store.ack_wait_s = 60
        await store.ensure_consumer(OWNER)
        assert await store.streams.next(store.names.queue, name) is None
        await store.streams.nak(first)
