"""A key whose requests wait for their limit, over HTTP: answered as if nothing had happened."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Limits, Policy, PolicyOverflow, Rule, Target
from runestone_sidecar import app
from runestone_sidecar.admit.local_limits import LocalLimiter
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway, raw_request
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from runestone_contract.config import Config

OK = json_reply(completion("fine"))


def waiting(
    one: scripts.Provider,
    *,
    overflow: dict[str, Any] | None = None,
    mode: str = "Wait",
    **limits: Any,
) -> Config:
    key = bundles.key(limits=Limits(**limits).model_dump(), overflow={"mode": mode})
    policy = Policy(
        id="shop/-",
        default=True,
        rules=(Rule(name="all", targets=(Target(pool="shop/pool"),)),),
        overflow=PolicyOverflow(**overflow or {}),
    )
    return bundles.config(bundles.provider(f"{one.url}/v1"), keys=(key,), policy=policy)


async def in_line(found: Gateway, count: int) -> None:
    """Until so many wait."""
    async with asyncio.timeout(30):
        while len(found.parts.room) != count:
            await asyncio.sleep(0.002)


async def queued(found: Gateway, count: int, **fields: Any) -> list[asyncio.Task[httpx.Response]]:
    """One after the other, each in line before the next comes."""
    before, tasks = len(found.parts.room), []
    for number in range(1, count + 1):
        tasks.append(asyncio.create_task(found.chat(user=f"u{before + number}", **fields)))
        await in_line(found, before + number)
    return tasks


async def apply(found: Gateway, root: Path, config: Config) -> None:
    bundles.publish(root, config)
    await found.parts.source.refresh()


def outcome(found: Gateway, name: str) -> int:
    return found.parts.health.metrics.waits.ended["shop/app", name]


async def test_ten_at_once_are_answered_in_order_one_at_a_time(tmp_path: Path) -> None:
    gate = asyncio.Event()
    running = [0]

    def answer(_: scripts.Request) -> scripts.Script:
        running[0] += 1
        assert running[0] == 1

        async def done(_: object) -> None:
            running[0] -= 1

        return [scripts.until(gate), done, OK]

    async with (
        scripts.Provider(answer) as one,
        gateway(tmp_path, waiting(one, concurrent_requests=1)) as found,
    ):
        first = asyncio.create_task(found.chat(user="u0"))
        await one.requested()
        others = await queued(found, 9)
        assert len(one.requests) == 1
        gate.set()
        answers = await asyncio.gather(first, *others)
        assert outcome(found, "admitted") == 9
    assert [answer.status_code for answer in answers] == [200] * 10
    assert [request.json()["user"] for request in one.requests] == [f"u{n}" for n in range(10)]
    assert "x-runestone-queued" not in answers[0].headers
    assert all(int(answer.headers["x-runestone-queued"]) >= 0 for answer in answers[1:])
    assert answers[9].headers["x-ratelimit-limit-concurrent"] == "1"


async def test_a_window_lets_the_next_in_when_it_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved_s = [0.0]
    monkeypatch.setattr(
        app, "LocalLimiter", lambda: LocalLimiter(lambda: time.monotonic() + moved_s[0])
    )
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, waiting(one, requests_per_minute=1)) as found,
    ):
        assert (await found.chat()).status_code == 200
        (late,) = await queued(found, 1)
        found.parts.room.look_again()  # asks, in vain
        await in_line(found, 1)
        assert len(one.requests) == 1
        moved_s[0] = 62.0  # it looks again within five seconds
        assert (await late).status_code == 200


async def test_a_client_that_leaves_while_it_waits_never_reaches_the_provider(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    async with (
        scripts.Provider([scripts.until(gate), OK]) as one,
        gateway(tmp_path, waiting(one, concurrent_requests=1)) as found,
    ):
        first = asyncio.create_task(found.chat(user="first"))
        await one.requested()
        for stream in (False, True):
            reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
            writer.write(raw_request(user="gone", stream=stream))
            await in_line(found, 1)
            (last,) = await queued(found, 1)
            writer.transport.abort()
            await in_line(found, 1)
            last.cancel()
            await in_line(found, 0)
            del reader
        (last,) = await queued(found, 1)
        gate.set()
        assert [(await task).status_code for task in (first, last)] == [200, 200]
        assert outcome(found, "left") == 4
    assert [request.json()["user"] for request in one.requests] == ["first", "u1"]


async def test_a_full_line_is_429_with_a_time_to_come_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = asyncio.Event()
    config_of = {"overflow": {"max_queued": 2}, "concurrent_requests": 1}
    async with (
        scripts.Provider([scripts.until(gate), OK]) as one,
        gateway(tmp_path, waiting(one, **config_of)) as found,  # type: ignore[arg-type]
    ):
        first = asyncio.create_task(found.chat())
        await one.requested()
        others = await queued(found, 2)
        for stream in (False, True):
            refused = await found.chat(stream=stream)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert "as many requests wait already as may" in refused.json()["error"]["message"]
            assert 1 <= int(refused.headers["retry-after"]) <= 120
            assert refused.headers["x-ratelimit-remaining-concurrent"] == "0"
        gate.set()
        await asyncio.gather(first, *others)
        assert 'outcome="full"} 2.0' in found.metrics()
        assert set(found.parts.traffic.attempts) == {("shop/pool/main", "ok")}  # nobody's fault
        assert 'runestone_waiting_requests{api_key="shop/app"} 0.0' in found.metrics()
    assert capfd.readouterr().out.count('"queued_ms":') == 2


async def test_one_that_waited_too_long_is_429_and_says_so(tmp_path: Path) -> None:
    async with (
        scripts.Provider([scripts.hang()]) as one,
        gateway(
            tmp_path, waiting(one, overflow={"max_age_ms": 50}, concurrent_requests=1)
        ) as found,
    ):
        first = asyncio.create_task(found.chat())
        await one.requested()
        refused = await found.chat()
        first.cancel()
    assert refused.status_code == 429
    assert "this request waited 1 second for its turn" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert int(refused.headers["x-runestone-queued"]) >= 50


async def test_what_can_never_be_let_in_does_not_wait(tmp_path: Path) -> None:
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, waiting(one, tokens_per_minute=5)) as found,
    ):
        refused = await found.chat(messages=[{"role": "user", "content": "word " * 100}])
    assert refused.status_code == 429
    assert "too large" in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert "x-runestone-queued" not in refused.headers


async def test_H6_a_key_that_is_revoked_is_401_for_who_waits(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        scripts.Provider([scripts.until(gate), OK]) as one,
        gateway(tmp_path, waiting(one, concurrent_requests=1)) as found,
    ):
        first = asyncio.create_task(found.chat())
        await one.requested()
        others = await queued(found, 3)
        config = waiting(one, concurrent_requests=1)
        await apply(found, tmp_path, config.model_copy(update={"keys": ()}))
        assert [(await task).status_code for task in others] == [401] * 3
        gate.set()
        assert (await first).status_code == 200
        assert outcome(found, "refused") == 3
    assert len(one.requests) == 1


async def test_H6_limits_of_a_reload_hold_for_who_waits(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        scripts.Provider([scripts.until(gate), OK]) as one,
        gateway(tmp_path, waiting(one, concurrent_requests=1)) as found,
    ):
        first = asyncio.create_task(found.chat())
        await one.requested()
        second, third = await queued(found, 2)
        await apply(found, tmp_path, waiting(one, concurrent_requests=2))
        await one.requested(2)
        await in_line(found, 1)
        await apply(found, tmp_path, waiting(one, mode="Never", concurrent_requests=1))
        assert (await third).status_code == 429  # it is not to wait any more
        gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]


async def test_a_request_that_waited_goes_where_the_configuration_says_by_then(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    async with scripts.Provider([scripts.until(gate), OK]) as old, scripts.Provider(OK) as new:
        async with gateway(tmp_path, waiting(old, concurrent_requests=1)) as found:
            first = asyncio.create_task(found.chat())
            await old.requested()
            (second,) = await queued(found, 1)
            await apply(found, tmp_path, waiting(new, concurrent_requests=1))
            gate.set()
            assert (await first).status_code == 200
            answer = await second
    assert answer.status_code == 200
    assert answer.headers["x-runestone-config"] != (await first).headers["x-runestone-config"]
    assert (len(old.requests), len(new.requests)) == (1, 1)


async def test_the_time_that_a_rule_gives_is_for_the_run(tmp_path: Path) -> None:
    gate, given_s = asyncio.Event(), 2
    async with scripts.Provider(OK) as one:
        config = waiting(one, concurrent_requests=1)
        (policy,) = config.policies
        rule = policy.rules[0].model_copy(update={"timeout_ms": given_s * 1000})
        hurried = policy.model_copy(update={"id": "shop/hurried", "rules": (rule,)})
        both = [policy, hurried.model_copy(update={"default": False})]
        async with gateway(tmp_path, config.model_copy(update={"policies": (*both,)})) as found:
            one.queue([scripts.until(gate), OK])
            first = asyncio.create_task(found.chat())
            await one.requested()
            keys = tuple(key.model_copy(update={"policy": hurried.id}) for key in config.keys)
            update = {"policies": (*both,), "keys": keys}
            await apply(found, tmp_path, config.model_copy(update=update))
            (late,) = await queued(found, 1)
            loop = asyncio.get_running_loop()
            came_s = loop.time()
            while loop.time() < came_s + given_s + 0.1:
                await asyncio.sleep(0.02)
            gate.set()
            assert [(await task).status_code for task in (first, late)] == [200, 200]


@pytest.mark.parametrize("mode", ["OnRequest", "Never", "Always", "Later"])
async def test_other_modes_are_429_whatever_the_client_prefers(tmp_path: Path, mode: str) -> None:
    async with (
        scripts.Provider(OK) as one,
        gateway(tmp_path, waiting(one, mode=mode, requests_per_minute=1)) as found,
    ):
        found.client.headers["prefer"] = "respond-async"
        assert [(await found.chat()).status_code for _ in range(2)] == [200, 429]


async def test_requests_that_are_handed_on_wait_too_but_uploads(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        scripts.Provider([scripts.until(gate), json_reply({"data": []})]) as one,
        gateway(tmp_path, waiting(one, concurrent_requests=1)) as found,
    ):
        asked = {"model": "gpt-4o-mini", "input": "x"}
        first = asyncio.create_task(found.client.post("/embeddings", json=asked))
        await one.requested()
        image = asyncio.create_task(
            found.client.post("/images/generations", json={"model": "gpt-4o-mini", "prompt": "x"})
        )
        await in_line(found, 1)
        upload = await found.client.post(
            "/audio/transcriptions",
            files={"file": ("a.wav", b"RIFF")},
            data={"model": "gpt-4o-mini"},
        )
        assert upload.status_code == 429
        assert "an upload does not wait" in upload.json()["error"]["message"]
        gate.set()
        assert [(await task).status_code for task in (first, image)] == [200, 200]
    assert [request.target for request in one.requests] == [
        "/v1/embeddings",
        "/v1/images/generations",
    ]
