"""One namespace at another's part of the NATS server: what can be tried, and none of it works."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats.errors
import pytest
from nats.aio.client import Client

from runestone_operator.nats import tokens
from runestone_operator.nats.creds import read_user
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_testing.nats_accounts import (
    TrustingNats,
    guest,
    open_account,
    sidecar_guest,
    token_of,
)
from runestone_testing.nats_attacks import ATTACKS, succeeds
from runestone_testing.nats_victim import Victim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from runestone_testing.nats_accounts import Guest

OURS, THEIRS = Home("attacker", "uid-1"), Home("other", "uid-2")


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust(KeyPair.generate(Role.OPERATOR))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, trust: Trust) -> Iterator[TrustingNats]:
    made = TrustingNats(tmp_path_factory.mktemp("nats")).trust(trust)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ours(server: TrustingNats, trust: Trust) -> bytes:
    return asyncio.run(open_account(server, trust, OURS))


@pytest.fixture(scope="module")
def theirs(server: TrustingNats, trust: Trust) -> bytes:
    return asyncio.run(open_account(server, trust, THEIRS))


UNBOUNDED = {"subs": -1, "data": -1, "payload": -1}


def token_for(signer: KeyPair, user: KeyPair, home: KeyPair | None = None, **more: object) -> str:
    """`home` is the account that the signer says he signs for."""
    facts: dict[str, object] = {"type": "user", "version": 2}
    facts |= UNBOUNDED if home is None else {"issuer_account": home.public}
    return tokens.encode(signer, {"sub": user.public, "nats": facts, **more})


@asynccontextmanager
async def owner(server: TrustingNats, trust: Trust, home: Home) -> AsyncIterator[Guest]:
    """A user who may do everything in his account: none that the operator makes."""
    user = KeyPair.generate(Role.USER)
    async with guest(server.url, token_for(trust.account(home), user), user) as client:
        yield client


@asynccontextmanager
async def victim(server: TrustingNats, trust: Trust) -> AsyncIterator[Victim]:
    async with owner(server, trust, THEIRS) as client:
        made = Victim(THEIRS.namespace, trust.account(THEIRS).public, client)
        await made.listen()
        await made.settle_in()
        yield made


async def successes(client: Guest, target: Victim) -> list[str]:
    return [attack.name for attack in ATTACKS if await succeeds(attack, client, target)]


async def test_P16_a_sidecar_gets_at_nothing_of_another_namespace(
    server: TrustingNats, trust: Trust, ours: bytes, theirs: bytes
) -> None:
    async with victim(server, trust) as target, sidecar_guest(server.url, ours) as client:
        assert await successes(client, target) == []


async def test_P16_nor_does_one_who_may_do_everything_in_his_own(
    server: TrustingNats, trust: Trust, theirs: bytes
) -> None:
    """So that what holds does not hang on a list of permissions."""
    home = Home(OURS.namespace, "uid-3")
    await open_account(server, trust, home)
    async with victim(server, trust) as target, owner(server, trust, home) as client:
        assert await successes(client, target) == []


async def test_the_attacks_would_work_without_the_wall(
    server: TrustingNats, trust: Trust, theirs: bytes
) -> None:
    failed = []
    async with victim(server, trust) as target, owner(server, trust, THEIRS) as client:
        for attack in ATTACKS:
            if attack.gets_through_inside:
                await target.settle_in()
                if not await succeeds(attack, client, target):
                    failed.append(attack.name)
    assert failed == []


def of(credentials: bytes) -> KeyPair:
    user = read_user(credentials)
    assert user is not None
    return user


Entry = tuple[str, KeyPair]


def forgeries(trust: Trust, ours: bytes, theirs: bytes) -> dict[str, Entry]:
    """Tokens, and who signs for them, by one who has our credentials and all that is public."""
    us, home = of(ours), trust.account(THEIRS)
    self_made, public = KeyPair.generate(Role.ACCOUNT), token_of(theirs)
    renamed = KeyPair(Role.ACCOUNT, us.secret)  # a user's key that poses as an account's
    their_claims = tokens.decode(public)
    head, body, signature = public.split(".")
    changed = tokens.encode(renamed, their_claims | {"sub": us.public}).split(".")[1]
    stranger = Trust(KeyPair.generate(Role.OPERATOR))
    return {
        "their-token-without-their-key": (public, us),
        "signed-by-an-account-of-our-own": (token_for(self_made, us, home), us),
        "signed-by-our-user": (token_for(renamed, us, home), us),
        "their-token-in-our-name": (f"{head}.{changed}.{signature}", us),
        "our-token-with-another-body": (f"{head}.{changed}.{token_of(ours).split('.')[2]}", us),
        "of-another-operator": (token_of(stranger.issue(THEIRS)), us),
        "system-of-another-operator": (stranger.system_user_token(), stranger.system_user()),
        "signed-by-our-user-for-the-system": (token_for(renamed, us, trust.system), us),
        "not-signed": (f"{head}.{body}.", us),
    }


async def is_let_in(server: TrustingNats, entry: Entry) -> bool:
    try:
        async with guest(server.url, *entry) as client:
            await client.rtt()
            return True
    except nats.errors.Error:
        return False


async def test_P16_no_forged_credentials_let_anybody_in(
    server: TrustingNats, trust: Trust, ours: bytes, theirs: bytes
) -> None:
    assert await is_let_in(server, (token_of(ours), of(ours)))
    entries = forgeries(trust, ours, theirs)
    assert [name for name, entry in entries.items() if await is_let_in(server, entry)] == []


async def test_P16_nor_do_those_that_ended_or_never_began(
    server: TrustingNats, trust: Trust, theirs: bytes
) -> None:
    """By the right signer: as if one day tokens had an end."""
    home, user = trust.account(THEIRS), KeyPair.generate(Role.USER)
    now_s = int(time.time())
    assert await is_let_in(server, (token_for(home, user, exp=now_s + 600), user))
    assert not await is_let_in(server, (token_for(home, user, exp=now_s - 5), user))
    assert not await is_let_in(server, (token_for(home, user, nbf=now_s + 600), user))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"user": "sys", "password": "sys"}, id="password"),
        pytest.param({"token": "token"}, id="token"),
    ],
)
async def test_P16_nobody_gets_in_without_credentials(
    server: TrustingNats, options: dict[str, Any]
) -> None:
    client = Client()
    with pytest.raises(nats.errors.Error):
        await client.connect(server.url, allow_reconnect=False, max_reconnect_attempts=1, **options)
    await client.close()
