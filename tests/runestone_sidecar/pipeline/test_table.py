"""The table of verdicts, row by row against a real provider: it says what really happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runestone_contract.config import CircuitBreaker, Connections, Pool, Retry, Timeouts
from runestone_sidecar.admit.breaker import State
from runestone_sidecar.pipeline import execute
from runestone_sidecar.pipeline.verdicts import (
    BAD_REPLY,
    CONTENT_REFUSED,
    FAULTS,
    OUT_OF_CREDIT,
    PASSED_OVER,
    STATUSES,
    Row,
    Scope,
    Sign,
    Verdict,
    markdown,
    row_of_status,
    rows,
)
from runestone_sidecar.upstream import faults
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway
from runestone_testing.provider import json_reply, refusing_port, silent_port

OK = json_reply(completion("fine"))
KEYS = {"cred-a": "sk-one-0000000000", "cred-b": "sk-two-0000000000"}
MAIN = "shop/pool/main"

# What each verdict comes to with two credentials and two attempts: the calls by credential, and
# whether the spare provider is asked.
CALLS = {
    Verdict.CLIENT: (["a"], False),
    Verdict.CREDENTIAL: (["a", "b"], True),
    Verdict.LIMITED: (["a", "b", "b"], True),
    Verdict.RETRY: (["a", "a"], True),
    Verdict.PROVIDER: (["a"], True),
}


@dataclass
class Seen:
    gateway: Gateway
    status: int
    spare_asked: bool

    def check(self, row: Row) -> None:
        """What the row says of the provider's health and of pauses."""
        load = self.gateway.parts.health.load.of(MAIN)
        failed = row.sign is Sign.FAILURE
        assert load.breaker.state is (State.OPEN if failed else State.CLOSED)
        if row.score is None:
            assert load.score == 1.0
        else:
            assert row.score < load.score < 1.0
        assert bool(load.cooldowns) is (row.pause not in (Scope.NOTHING, Scope.PROVIDER))


@asynccontextmanager
async def asked(
    root: Path, url: str, *, threshold: int, **fields: Any
) -> AsyncIterator[tuple[Gateway, Seen]]:
    """One request to a provider there, with a spare one; the breaker opens at the threshold."""
    rules = CircuitBreaker(failure_threshold=threshold)
    given: dict[str, Any] = {"circuit_breaker": rules} | fields
    retry = Retry(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=1)
    main = bundles.provider(url, credentials=("cred-a", "cred-b"), retry=retry)
    async with scripts.Provider(OK) as other:
        spare = bundles.provider(f"{other.url}/v1", name="spare", priority=1)
        pool = Pool(id="shop/pool", providers=(main.model_copy(update=given), spare))
        async with gateway(root, bundles.config(pools=(pool,)), KEYS) as found:
            answer = await found.chat()
            yield found, Seen(found, answer.status_code, bool(other.requests))


def used(provider: scripts.Provider) -> list[str]:
    names = {f"Bearer {value}": name[-1] for name, value in KEYS.items()}
    return [names[request.header("authorization") or ""] for request in provider.requests]


def refusal(status: int, code: str | None = None) -> bytes:
    return json_reply({"error": {"message": "no", "code": code}}, status=status)


REFUSALS = [
    *(pytest.param(refusal(status), row, id=str(status)) for status, row in STATUSES.items()),
    pytest.param(refusal(429, "insufficient_quota"), OUT_OF_CREDIT, id="429-out-of-credit"),
    pytest.param(refusal(403, "content_filter"), CONTENT_REFUSED, id="403-for-the-content"),
    *(
        pytest.param(refusal(n), row_of_status(n), id=str(n))
        for n in (418, 451, 500, 504, 204, 307)
    ),
    pytest.param(scripts.reply(b"<p>", content_type="text/html"), BAD_REPLY, id="C20-html"),
]


@pytest.mark.parametrize(("answer", "row"), REFUSALS)
async def test_an_answer_that_is_none(tmp_path: Path, answer: bytes, row: Row) -> None:
    calls, spare_asked = CALLS[row.verdict]
    async with scripts.Provider(answer) as one:
        async with asked(tmp_path, f"{one.url}/v1", threshold=len(calls)) as (_, seen):
            assert used(one) == calls
            assert seen.spare_asked is spare_asked
            assert (seen.status == 200) is spare_asked
            seen.check(row)


F = faults
IMPATIENT: dict[type[faults.UpstreamFault], Timeouts] = {
    F.FirstByteTimeout: Timeouts(first_byte_ms=80),
    F.IdleTimeout: Timeouts(idle_ms=80),
    F.TotalTimeout: Timeouts(total_ms=80),
    F.ConnectTimeout: Timeouts(connect_ms=80),
}
BROKEN: dict[type[faults.UpstreamFault], Any] = {
    F.FirstByteTimeout: [scripts.hang()],
    F.IdleTimeout: [OK[:-5], scripts.hang()],
    F.TotalTimeout: [scripts.hang()],
    F.ConnectionLost: [scripts.reset()],
    F.LostMidBody: [OK[:-5], scripts.reset()],
    F.BadResponse: b"220 smtp.example ESMTP\r\n\r\n",
    F.BodyTooLarge: OK,
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_an_answer_that_breaks(
    tmp_path: Path, kind: type[faults.UpstreamFault], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = FAULTS[kind]
    if kind is F.BodyTooLarge:
        monkeypatch.setattr(execute, "MAX_REPLY_BYTES", 10)
    timeouts = IMPATIENT.get(kind, Timeouts())
    calls, spare_asked = CALLS[row.verdict]
    async with scripts.Provider(BROKEN[kind]) as one:
        url = f"{one.url}/v1"
        async with asked(tmp_path, url, threshold=len(calls), timeouts=timeouts) as (_, seen):
            assert used(one) == calls
            assert seen.spare_asked is spare_asked
            seen.check(row)


@pytest.mark.parametrize("kind", [F.NotConnected, F.ConnectTimeout], ids=lambda kind: kind.__name__)
async def test_nobody_there(tmp_path: Path, kind: type[faults.UpstreamFault]) -> None:
    with refusing_port() if kind is F.NotConnected else silent_port() as port:
        url, timeouts = f"http://127.0.0.1:{port}/v1", IMPATIENT.get(kind, Timeouts())
        async with asked(tmp_path, url, threshold=1, timeouts=timeouts) as (_, seen):
            assert seen.status == 200
            seen.check(FAULTS[kind])


async def test_no_tls_there(tmp_path: Path) -> None:
    async with scripts.Provider(OK) as one:
        url = one.url.replace("http://", "https://")
        async with asked(tmp_path, url, threshold=1) as (_, seen):
            assert (seen.status, one.requests) == (200, [])
            seen.check(FAULTS[F.TlsFailed])


async def test_our_own_connections_in_use(tmp_path: Path) -> None:
    def slowly(request: scripts.Request) -> scripts.Script:
        return OK if request.peer.requests == 1 else [scripts.until(gate), OK]

    gate = asyncio.Event()
    async with scripts.Provider(slowly) as one:
        full = {"connections": Connections(max=1), "timeouts": Timeouts(connect_ms=80)}
        async with asked(tmp_path, f"{one.url}/v1", threshold=1, **full) as (found, seen):
            held = asyncio.create_task(found.chat())
            await one.requested(2)
            assert (await found.chat()).headers["x-runestone-provider"] == "shop/pool/spare"
            gate.set()
            await held
            seen.check(FAULTS[F.PoolExhausted])


def test_every_fault_of_the_table_is_tried() -> None:
    tried = {*BROKEN, F.NotConnected, F.ConnectTimeout, F.TlsFailed, F.PoolExhausted}
    assert tried == FAULTS.keys()


def test_the_table_as_it_is_printed() -> None:
    lines = markdown().splitlines()
    assert len(lines) == len(rows()) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 400: bad request | never | never | never | closes a half-open")
    assert len({row.title for row in rows()}) == len(rows())
    assert PASSED_OVER in rows()
