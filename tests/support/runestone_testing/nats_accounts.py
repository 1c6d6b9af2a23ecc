"""A nats-server that trusts the operator's keys, and clients of it with any credentials."""

from __future__ import annotations

import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from nats.aio.client import Client

from runestone_operator.nats.creds import read_user
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.server_config import auth_config
from runestone_testing.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from runestone_operator.nats.nkeys import KeyPair
    from runestone_operator.nats.trust import Home, Trust
    from runestone_testing.chart_nats import ChartServer

ANSWER_S = 5.0


class TrustingNats(NatsServer):
    """As the chart has it: its configuration includes what is written to `auth`."""

    def __init__(self, folder: Path, *, storage_bytes: int = 1 << 40) -> None:
        self._config = folder / "nats.conf"
        self.auth = folder / "auth.conf"
        self.accounts = folder / "jwt"
        super().__init__(folder, "--config", str(self._config))
        self._config.write_text(
            f"jetstream {{ max_file_store: {storage_bytes} }}\ninclude auth.conf\n"
        )

    def trust(self, trust: Trust) -> Self:
        self.auth.write_text(auth_config(trust, str(self.accounts)))
        return self


def token_of(credentials: bytes) -> str:
    found = re.search(rb"JWT-+\s+(\S+)", credentials)
    assert found is not None
    return found[1].decode()


class Guest(Client):
    """Also keeps what the server complained of."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []

    async def enter(self, url: str, token: str, user: KeyPair) -> Self:
        async def on_error(error: Exception) -> None:
            self.complaints.append(str(error))

        await self.connect(
            url,
            user_jwt_cb=token.encode,
            signature_cb=lambda nonce: base64.b64encode(user.sign(nonce.encode())),
            error_cb=on_error,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            connect_timeout=int(ANSWER_S),
        )
        return self

    async def ask(self, subject: str, body: object = None) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads(
            (await self.request(subject, data, timeout=ANSWER_S)).data
        )
        return answer


@asynccontextmanager
async def guest(url: str, token: str, user: KeyPair) -> AsyncIterator[Guest]:
    """Raises nats.errors.Error where it is not let in."""
    client = Guest()
    try:
        yield await client.enter(url, token, user)
    finally:
        if not client.is_closed:
            await client.close()


@asynccontextmanager
async def sidecar_guest(url: str, credentials: bytes) -> AsyncIterator[Guest]:
    """With the credentials of a namespace's sidecars."""
    user = read_user(credentials)
    assert user is not None
    async with guest(url, token_of(credentials), user) as client:
        yield client


async def open_account(
    server: NatsServer | ChartServer, trust: Trust, home: Home, limits: AccountLimits | None = None
) -> bytes:
    """As the operator does, but once; returns the credentials."""
    credentials = trust.issue(home)
    user = trust.user_of(home, credentials)
    assert user is not None
    claims = trust.account_claims(home, user, limits or AccountLimits())
    token = trust.sign_account(claims, issued_at_s=1)
    async with guest(server.url, trust.system_user_token(), trust.system_user()) as system:
        answer = await system.request("$SYS.REQ.CLAIMS.UPDATE", token.encode(), timeout=ANSWER_S)
        assert json.loads(answer.data)["data"]["code"] == 200
    return credentials
