"""The ledger in a real nats-server: revisions, news of changes, ages, and a store that is lost."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.broker.ledger import KvLedger
from runestone_sidecar.broker.link import Link
from runestone_testing.nats import NatsServer, nats_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEADLINE_S = 30
KEY = "shop/my.app"


@dataclass
class Heard:
    stores: list[str] = field(default_factory=list)
    closed_times: int = 0
    changes: list[tuple[str, bytes, int]] = field(default_factory=list)

    def opened(self, store: str) -> None:
        self.stores.append(store)

    def closed(self) -> None:
        self.closed_times += 1

    def changed(self, key: str, content: bytes, revision: int) -> None:
        self.changes.append((key, content, revision))


@asynccontextmanager
async def ledger(
    server: NatsServer, namespace: str = "shop"
) -> AsyncIterator[tuple[KvLedger, Heard]]:
    link, heard = Link((server.url,)), Heard()
    made = KvLedger(link)
    made.join(namespace)
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(made.run(heard))]
    try:
        await until(lambda: bool(heard.stores or heard.closed_times))
        yield made, heard
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


async def test_a_write_follows_the_revision_that_it_names_or_does_not_happen() -> None:
    with nats_server() as server:
        async with ledger(server) as (one, _), ledger(server) as (other, heard):
            assert await one.read(KEY) is None
            first = await one.write(KEY, b"one", after=0)
            assert first is not None
            assert await other.write(KEY, b"other", after=0) is None
            second = await other.write(KEY, b"other", after=first)
            assert second is not None
            assert await one.write(KEY, b"late", after=first) is None
            found = await one.read(KEY)
            assert found is not None
            assert found[:2] == (b"other", second)
            await until(lambda: len(heard.changes) == 2)
            assert heard.changes == [(KEY, b"one", first), (KEY, b"other", second)]


async def test_namespaces_do_not_see_each_other() -> None:
    with nats_server() as server:
        async with ledger(server) as (one, _), ledger(server, "other") as (other, heard):
            await one.write(KEY, b"one")
            await other.write("other/app", b"two")
            await until(lambda: bool(heard.changes))
            assert [key for key, _, _ in heard.changes] == ["other/app"]
            assert await other.read(KEY) is None


@pytest.mark.parametrize("key", ["shop/app", "shop/über uns", "a.b-c_d", "*.>"])
async def test_any_key_has_a_subject_of_its_own(key: str) -> None:
    with nats_server() as server:
        async with ledger(server) as (one, heard):
            await one.write(key, b"it")
            await one.write("shop/another", b"not it")
            found = await one.read(key)
            assert found is not None
            assert found[0] == b"it"
            await until(lambda: len(heard.changes) == 2)
            assert heard.changes[0][0] == key


async def test_what_has_a_time_to_live_is_gone_after_it() -> None:
    with nats_server() as server:
        async with ledger(server) as (one, _):
            first = await one.write(KEY, b"one", after=0, ttl_s=1)
            async with asyncio.timeout(DEADLINE_S):
                while await one.read(KEY) is not None:
                    await asyncio.sleep(0.05)
            assert await one.write(KEY, b"two", after=first) is None
            assert await one.write(KEY, b"two", after=0) is not None


async def test_ages_are_by_the_servers_clock() -> None:
    with nats_server() as server:
        clock = [1000.0]
        async with ledger(server) as (one, heard):
            one._clock = lambda: clock[0]
            await one.write(KEY, b"one")
            await until(lambda: bool(heard.changes))
            clock[0] += 3600
            found = await one.read(KEY)
            assert found is not None
            assert 3599 < found[2] <= 3600.5


@pytest.mark.parametrize("wiped", [False, True], ids=["with-its-store", "without"])
async def test_a_server_that_comes_back_is_opened_again(wiped: bool) -> None:
    with nats_server() as server:
        async with ledger(server) as (one, heard):
            await one.write(KEY, b"one")
            await asyncio.to_thread(server.stop)
            await until(lambda: heard.closed_times > 0)
            with pytest.raises(ConnectionError):
                await one.write(KEY, b"two")
            if wiped:
                server.wipe()
            await asyncio.to_thread(server.start)
            await until(lambda: len(heard.stores) == 2)
            assert (heard.stores[0] != heard.stores[1]) == wiped
            found = await one.read(KEY)
            assert (found is None) == wiped
            await one.write(KEY, b"three")
            await until(lambda: heard.changes[-1][1] == b"three")


async def test_without_a_server_it_says_at_once_that_it_is_closed() -> None:
    with nats_server(started=False) as server:
        async with ledger(server) as (one, heard):
            await until(lambda: heard.closed_times > 0)
            with pytest.raises(ConnectionError):
                await one.read(KEY)


async def test_a_server_without_jetstream_is_none_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with nats_server(jetstream=False) as server:
        async with ledger(server) as (one, heard):
            await until(lambda: heard.closed_times > 1)
            with pytest.raises(ConnectionError):
                await one.read(KEY)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "NATS keeps no ledger of limits for us: its server has no JetStream"
    ]
