"""The connection to NATS: there or not, lost and found, and what the log says of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_sidecar.broker.credentials import Credentials
from runestone_sidecar.broker.link import Link
from runestone_testing.nats import NatsServer, nats_server
from runestone_testing.nats_accounts import TrustingNats, open_account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE_S = 30


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[Link]:
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not link.is_up


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def test_it_connects_once_there_is_a_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runestone_sidecar")
    with nats_server(started=False) as server:
        async with running(Link((server.url,))) as link:
            await until(lambda: bool(warnings(caplog)))
            assert not link.is_up
            server.start()
            await until(lambda: link.is_up)
            assert link.client is not None
            await link.client.rtt()
    assert [r.getMessage() for r in caplog.records] == [
        "NATS is away: nobody is there; going on without it until it is back",
        f"connected to NATS at 127.0.0.1:{server.port}",
    ]


@pytest.mark.parametrize(
    ("lose", "find"),
    [
        pytest.param(NatsServer.stop, NatsServer.start, id="E2-killed"),
        pytest.param(
            lambda server: server.stop(signal.SIGTERM), NatsServer.start, id="E2-told-to-go"
        ),
        pytest.param(
            lambda server: server.send_signal(signal.SIGSTOP),
            lambda server: server.send_signal(signal.SIGCONT),
            id="E2-frozen",
        ),
    ],
)
async def test_a_server_that_is_gone_is_noticed_and_found_again(
    lose: Callable[[NatsServer], None],
    find: Callable[[NatsServer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[bool] = []
    with nats_server() as server:
        link = Link((server.url,))
        link.follow(lambda client: seen.append(client is not None))
        async with running(link):
            await until(lambda: link.is_up)
            first = link.client
            await asyncio.to_thread(lose, server)
            await until(lambda: not link.is_up)
            await until(lambda: bool(warnings(caplog)))
            await asyncio.to_thread(find, server)
            await until(lambda: link.is_up)
            assert link.client is not first
            assert seen == [True, False, True]
    assert seen == [True, False, True, False]


async def test_any_of_several_servers_will_do() -> None:
    with nats_server(started=False) as absent, nats_server() as server:
        async with running(Link((absent.url, server.url))) as link:
            await until(lambda: link.is_up)


@pytest.mark.parametrize("secret", ["token-abcdef", "someone:password-abcdef"])
async def test_the_url_may_hold_what_lets_us_in(
    secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    user, _, password = secret.partition(":")
    options = ("--user", user, "--pass", password) if password else ("--auth", user)
    with nats_server(*options) as server:
        async with running(Link((server.url.replace("//", f"//{secret}@"),))) as link:
            await until(lambda: link.is_up)
        async with running(Link((server.url.replace("//", f"//wrong-{secret}@"),))) as link:
            await until(lambda: bool(warnings(caplog)))
            assert not link.is_up
    (warning,) = warnings(caplog)
    assert "it does not accept our credentials" in warning
    assert "abcdef" not in caplog.text


async def test_credentials_that_come_later_are_used_with_the_next_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, there are none: as with a server that asks for none."""
    trust = Trust(KeyPair.generate(Role.OPERATOR))
    server, path = TrustingNats(tmp_path).trust(trust), tmp_path / "nats.creds"
    server.start()
    try:
        issued = await open_account(server, trust, Home("shop", "uid"))
        async with running(Link((server.url,), Credentials(path, required=False))) as link:
            await until(lambda: bool(warnings(caplog)))
            assert not link.is_up
            path.write_bytes(issued)
            await until(lambda: link.is_up)
    finally:
        server.stop()
    (warning,) = warnings(caplog)
    assert "it does not accept our credentials" in warning
