"""What is asked of the NATS server about its accounts, and what it is told of them."""

import json
import time
from collections.abc import Callable
from typing import Any, Final

from nats.errors import Error

from runestone_operator.errors import NatsAwayError, NatsRefusedError, NotLeadingError
from runestone_operator.nats import tokens
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.link import ANSWER_S, Link
from runestone_operator.nats.trust import Home, Trust, home_of

_OK: Final = 200
_DIFFER: Final = ("iat", "jti")  # of tokens that say the same


class Server:
    """Each method raises NatsAwayError or NatsRefusedError, or NotLeadingError where it writes."""

    def __init__(
        self,
        link: Link,
        limits: AccountLimits,
        *,
        may_write: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._limits = limits
        self._may_write = may_write
        self._clock = clock

    @property
    def is_up(self) -> bool:
        return self._link.client is not None

    async def keep(self, trust: Trust, home: Home, user: str) -> bool:
        """The account is there and lets in this user and nobody else. Whether it was changed."""
        claims = trust.account_claims(home, user, self._limits)
        account = claims["sub"]
        found = await self._lookup(account)
        said = {name: fact for name, fact in found.items() if name not in _DIFFER}
        changed = said != claims or not await self._works(account)
        if changed:
            # Of two servers of a cluster that do not agree, the newer token wins.
            at_s = max(int(self._clock()), int(found.get("iat", 0)) + 1)
            await self._update(trust.sign_account(claims, issued_at_s=at_s))
            if not await self._works(account):
                raise NatsRefusedError(f"give {home.namespace} the storage of its account", 503)
        return changed

    async def homes(self) -> dict[str, Home]:
        """Of every account that is there and ours, by the account."""
        body = await self._ask("$SYS.REQ.CLAIMS.LIST", b"")
        found: dict[str, Home] = {}
        for account in _parsed(body).get("data") or ():
            home = home_of(await self._lookup(account))
            if home is not None:
                found[account] = home
        return found

    async def remove(self, trust: Trust, account: str) -> None:
        """The account and all that it has stored. Done again, it does nothing."""
        await self._purge(account)
        order = trust.removal(account, issued_at_s=int(self._clock())).encode()
        _check("remove an account", await self._change("$SYS.REQ.CLAIMS.DELETE", order))
        await self._purge(account)  # what came in between

    async def _works(self, account: str) -> bool:
        """False where the server knows the account and has not given it what it should have."""
        info = _parsed(await self._ask(f"$SYS.REQ.ACCOUNT.{account}.INFO", b""))
        facts = info.get("data")
        if not isinstance(facts, dict):
            return True  # nobody of it has come yet
        return bool(facts.get("jetstream_enabled"))

    async def _lookup(self, account: str) -> dict[str, Any]:
        """Its claims; empty where there is none."""
        body = await self._ask(f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP", b"")
        return tokens.decode(body.decode("ascii", "replace"))

    async def _update(self, token: str) -> None:
        _check("set an account", await self._change("$SYS.REQ.CLAIMS.UPDATE", token.encode()))

    async def _purge(self, account: str) -> None:
        body = _parsed(await self._change(f"$JS.API.ACCOUNT.PURGE.{account}", b""))
        if not body.get("initiated"):
            raise NatsRefusedError("purge an account", int(body.get("error", {}).get("code", 0)))

    async def _change(self, subject: str, body: bytes) -> bytes:
        if not self._may_write():
            raise NotLeadingError("change", "NATS accounts")
        return await self._ask(subject, body)

    async def _ask(self, subject: str, body: bytes) -> bytes:
        client = self._link.client
        if client is None:
            raise NatsAwayError("no connection")
        try:
            return (await client.request(subject, body, timeout=ANSWER_S)).data
        except (TimeoutError, Error, OSError) as error:
            raise NatsAwayError(type(error).__name__) from error


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _check(what: str, body: bytes) -> None:
    answer = _parsed(body)
    done = answer.get("data") or answer.get("error") or {}
    code = int(done.get("code", 0)) if isinstance(done, dict) else 0
    if code != _OK:
        raise NatsRefusedError(what, code)
