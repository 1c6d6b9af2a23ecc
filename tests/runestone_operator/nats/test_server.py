"""Accounts in a real nats-server: kept, refused, changed and removed, by the system's account."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats.errors
import pytest

from runestone_operator.errors import NatsAwayError, NatsRefusedError
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.link import Link
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.server import Server
from runestone_operator.nats.trust import Home, Trust
from runestone_testing.nats import NatsServer
from runestone_testing.nats_accounts import TrustingNats, sidecar_guest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from runestone_testing.nats_accounts import Guest

DISK = 1 << 20
LIMITS = AccountLimits(disk_bytes=DISK)
SHOP, BANK = Home("shop", "uid-1"), Home("bank", "uid-2")
TRUST = Trust(KeyPair.generate(Role.OPERATOR))


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[TrustingNats]:
    made = TrustingNats(tmp_path, storage_bytes=DISK).trust(TRUST)
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def linked(
    server: NatsServer, limits: AccountLimits = LIMITS, trust: Callable[[], Trust] = lambda: TRUST
) -> AsyncIterator[Server]:
    link = Link((server.url,), trust)
    task = asyncio.create_task(link.run())
    made = Server(link, limits)
    try:
        await until(lambda: made.is_up)
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.02)


def issued(home: Home) -> tuple[bytes, str]:
    credentials = TRUST.issue(home)
    user = TRUST.user_of(home, credentials)
    assert user is not None
    return credentials, user


async def make_stream(client: Guest, home: Home) -> bool:
    name = f"runestone-jobs-v1-{home.namespace}"
    config = {"name": name, "subjects": [f"runestone.{home.namespace}.jobs.work.*"]}
    try:
        return "error" not in await client.ask(f"$JS.API.STREAM.CREATE.{name}", config)
    except nats.errors.Error:  # nobody is there to answer
        return False


async def test_what_is_as_it_should_be_is_not_changed(nats_server: TrustingNats) -> None:
    credentials, user = issued(SHOP)
    async with linked(nats_server) as server:
        assert await server.keep(TRUST, SHOP, user) is True
        async with sidecar_guest(nats_server.url, credentials) as client:
            assert await make_stream(client, SHOP)
            assert await server.keep(TRUST, SHOP, user) is False
            assert client.is_connected
            assert await server.homes() == {TRUST.account(SHOP).public: SHOP}
    async with linked(nats_server) as server:
        assert await server.keep(TRUST, SHOP, user) is False


async def test_other_limits_reach_the_account_and_close_no_connection(
    nats_server: TrustingNats,
) -> None:
    credentials, user = issued(SHOP)
    async with linked(nats_server) as server:
        await server.keep(TRUST, SHOP, user)
    async with sidecar_guest(nats_server.url, credentials) as client:
        async with linked(nats_server, AccountLimits(disk_bytes=DISK, streams=1)) as server:
            assert await server.keep(TRUST, SHOP, user) is True
        assert await make_stream(client, SHOP)
        assert not await make_stream(client, BANK)
        assert client.is_connected


async def test_where_there_is_no_room_it_is_told_and_mended_later(
    nats_server: TrustingNats,
) -> None:
    """Storage is set aside for an account when the first of it comes."""
    first, second = issued(SHOP), issued(BANK)
    async with linked(nats_server) as server:
        await server.keep(TRUST, SHOP, first[1])
        await server.keep(TRUST, BANK, second[1])
        async with sidecar_guest(nats_server.url, first[0]) as client:
            assert await make_stream(client, SHOP)
        async with sidecar_guest(nats_server.url, second[0]) as client:
            assert not await make_stream(client, BANK)
            with pytest.raises(NatsRefusedError, match="the storage of its account"):
                await server.keep(TRUST, BANK, second[1])
            await server.remove(TRUST, TRUST.account(SHOP).public)
            assert await server.keep(TRUST, BANK, second[1]) is True
            assert await make_stream(client, BANK)


async def test_without_a_bound_nothing_is_set_aside(nats_server: TrustingNats) -> None:
    """So there is room beside one that has all of it set aside."""
    first, second = issued(SHOP), issued(BANK)
    async with linked(nats_server) as server:
        await server.keep(TRUST, SHOP, first[1])
        async with sidecar_guest(nats_server.url, first[0]) as client:
            assert await make_stream(client, SHOP)
    async with linked(nats_server, AccountLimits(disk_bytes=0)) as server:
        await server.keep(TRUST, BANK, second[1])
        async with sidecar_guest(nats_server.url, second[0]) as client:
            assert await make_stream(client, BANK)


async def test_a_removed_account_is_made_again_at_once_and_is_empty(
    nats_server: TrustingNats,
) -> None:
    credentials, user = issued(SHOP)
    account = TRUST.account(SHOP).public
    async with linked(nats_server) as server:
        await server.keep(TRUST, SHOP, user)
        async with sidecar_guest(nats_server.url, credentials) as client:
            assert await make_stream(client, SHOP)
            await server.remove(TRUST, account)
            await until(lambda: not client.is_connected)
        await server.remove(TRUST, account)  # as after a crash in between
        assert await server.homes() == {}
        assert not (nats_server.store / "jetstream" / account).exists()

        assert await server.keep(TRUST, SHOP, user) is True
        async with sidecar_guest(nats_server.url, credentials) as client:
            info = await client.ask("$JS.API.STREAM.INFO.runestone-jobs-v1-shop")
            assert info["error"]["err_code"] == 10059


async def test_who_is_not_trusted_gets_no_connection(
    nats_server: TrustingNats, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link((nats_server.url,), lambda: Trust(KeyPair(Role.OPERATOR, bytes(32))))
    task = asyncio.create_task(link.run())
    await until(lambda: caplog.records)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    (record,) = caplog.records
    assert "it does not accept us" in record.__dict__["reason"]
    with pytest.raises(NatsAwayError):
        await Server(link, LIMITS).homes()


async def test_another_trust_begins_a_new_connection(nats_server: TrustingNats) -> None:
    trusts = [TRUST]
    async with linked(nats_server, trust=lambda: trusts[0]) as server:
        trusts[0] = Trust(KeyPair.generate(Role.OPERATOR))
        await until(lambda: not server.is_up)
        trusts[0] = TRUST
        await until(lambda: server.is_up)


async def test_a_server_without_accounts_is_told_of(tmp_path: Path) -> None:
    """It lets everybody in, and has no part that keeps accounts."""
    plain = NatsServer(tmp_path)
    plain.start()
    try:
        async with linked(plain) as server:
            with pytest.raises(NatsAwayError):
                await server.keep(TRUST, SHOP, issued(SHOP)[1])
    finally:
        plain.stop()
