"""What a made certificate is good for, by Python's and OpenSSL's own checks of a handshake."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from runestone_operator.certificate.pair import Pair, make_pair, read_validity
from runestone_operator.certificate.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = ["runestone-webhook.runestone-system.svc", "127.0.0.1", "::1"]
DAY_S = 86_400


def made(hosts: Iterable[str] = HOSTS, *, now: datetime = NOW, life_s: float = 90 * DAY_S) -> Pair:
    return make_pair(hosts, now=now, life_s=life_s)


async def shake_hands(serving: Serving, ca: bytes, host: str) -> None:
    """Raises ssl.SSLError where the client is not content."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    client = ssl.create_default_context(cadata=ca.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=serving.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=host
        )
        writer.close()


def serving(pair: Pair) -> Serving:
    ready = Serving()
    ready.load(pair.cert, pair.key)
    return ready


@pytest.mark.parametrize("host", HOSTS)
async def test_clients_that_trust_its_authority_are_content(host: str) -> None:
    pair = made()
    await shake_hands(serving(pair), pair.ca, host)


@pytest.mark.parametrize(
    ("trusted", "host"),
    [
        pytest.param(made().ca, HOSTS[0], id="another authority"),
        pytest.param(None, "kubernetes.default.svc", id="another name"),
    ],
)
async def test_others_are_not(trusted: bytes | None, host: str) -> None:
    pair = made()
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake_hands(serving(pair), trusted or pair.ca, host)


async def test_either_of_two_trusted_authorities_will_do() -> None:
    old, new = made(), made()
    for pair in (old, new):
        await shake_hands(serving(pair), old.ca + new.ca, HOSTS[0])


async def test_a_new_certificate_serves_from_the_next_handshake_on() -> None:
    old, new = made(), made()
    ready = serving(old)
    await shake_hands(ready, old.ca, HOSTS[0])
    assert ready.load(new.cert, new.key)
    assert not ready.load(new.cert, new.key)
    await shake_hands(ready, new.ca, HOSTS[0])


async def test_what_does_not_fit_leaves_what_serves_alone() -> None:
    old, new = made(), made()
    ready = serving(old)
    for cert, key in ((new.cert, old.key), (b"", b""), (b"x", new.key)):
        with pytest.raises(ssl.SSLError):
            ready.load(cert, key)
    await shake_hands(ready, old.ca, HOSTS[0])


def test_validity() -> None:
    validity = read_validity(made(life_s=90 * DAY_S))
    assert validity is not None
    assert validity.hosts == set(HOSTS)
    assert (validity.since, validity.until) == (NOW, NOW + timedelta(days=90))
    assert not validity.is_due(NOW + timedelta(days=59))
    assert validity.is_due(NOW + timedelta(days=60))
    assert not validity.is_over(NOW + timedelta(days=89))
    assert validity.is_over(NOW + timedelta(days=90))


GOOD, OTHER = made(), made()


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Pair(OTHER.ca, GOOD.cert, GOOD.key), id="of another authority"),
        pytest.param(Pair(GOOD.ca, GOOD.cert, OTHER.key), id="of another key"),
        pytest.param(Pair(b"", b"", b""), id="nothing"),
        pytest.param(Pair(GOOD.ca, GOOD.cert, b"-----BEGIN PRIVATE KEY-----"), id="half a key"),
        pytest.param(Pair(GOOD.ca[:200], GOOD.cert, GOOD.key), id="half an authority"),
        pytest.param(Pair(GOOD.ca, GOOD.ca, GOOD.key), id="an authority that serves"),
    ],
)
def test_what_does_not_belong_together_is_none(pair: Pair) -> None:
    assert read_validity(pair) is None


def test_no_key_is_shown() -> None:
    assert "PRIVATE" not in repr(GOOD)
    assert "PRIVATE" not in str([GOOD])
