"""B. Who may ask: presented keys in every form, and what a key may not so much as see."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from runestone_contract.config import Key, KeyHash, Policy, Pool, Rule, Target
from runestone_sidecar.admit.auth import authenticate
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.errors import Unauthorized
from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.gateway import CHAT, raw_request
from runestone_testing.provider import SSE, chunk, event, head
from runestone_testing.stand import Stand, planted, standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from runestone_contract.config import Config

KEY = bundles.CLIENT_KEY
OTHER_KEY = "sk-rs-test-other-abcdefghijklmnopqrstuvwxyz"
TRIES = 20_000


async def ask(stand: Stand, *lines: str, body: dict[str, Any] | None = None) -> Any:
    """Without the key, unless a line has it."""
    data = json.dumps(planted() if body is None else body).encode()
    wire = await stand.connect()
    heads = [f"POST /v1{CHAT} HTTP/1.1", "host: x", "content-type: application/json", *lines]
    heads += [f"content-length: {len(data)}", "", ""]
    wire.send("\r\n".join(heads).encode("latin-1") + data)
    return await wire.answer()


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="B1-none"),
        pytest.param(["authorization:"], id="B1-empty"),
        pytest.param(["authorization: Bearer "], id="B1-empty-bearer"),
        pytest.param([f"authorization: Basic {KEY}"], id="B2-basic"),
        pytest.param([f"authorization: {KEY}"], id="B2-no-scheme"),
        pytest.param([f"authorization: Digest username={KEY}"], id="B2-digest"),
        pytest.param([f"api-key: {KEY}"], id="B5-another-header"),
        pytest.param([f"cookie: authorization=Bearer {KEY}"], id="B5-cookie"),
        pytest.param(["authorization: Bearer sk-\xe4\xf6\xfc-not-ascii"], id="B6-not-ascii"),
        pytest.param([f"authorization: Bearer {'k' * 60_000}"], id="B6-60-kB"),
        pytest.param([f"authorization: Bearer {KEY} {KEY}"], id="B6-two-in-one"),
        pytest.param([f'authorization: Bearer {KEY}","level":"forged'], id="B6-forges-a-log-line"),
    ],
)
async def test_no_usable_key_is_401(stand: Stand, lines: list[str]) -> None:
    answer = await ask(stand, *lines)
    stand.refused(answer, 401, "invalid_api_key")
    assert stand.provider.requests == []
    assert [line["status"] for line in stand.lines()] == [401]


@pytest.mark.parametrize(
    "scheme", ["bearer", "BEARER", "Bearer", "bEaReR"], ids=lambda s: f"B3-{s}"
)
async def test_the_scheme_is_of_any_case(stand: Stand, scheme: str) -> None:
    assert (await ask(stand, f"authorization: {scheme} {KEY}")).status_code == 200


@pytest.mark.parametrize("second", [KEY, "sk-other"], ids=["B4-the-same-twice", "B4-a-second-key"])
async def test_two_authorizations_are_400(stand: Stand, second: str) -> None:
    lines = [f"authorization: Bearer {KEY}", f"authorization: Bearer {second}"]
    stand.refused(await ask(stand, *lines), 400)
    assert stand.provider.requests == []


async def test_B5_a_key_in_the_query_or_the_body_is_no_key(stand: Stand) -> None:
    answer = await ask(stand, body=planted(api_key=KEY, key=KEY, authorization=f"Bearer {KEY}"))
    stand.refused(answer, 401, "invalid_api_key")
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{stand.gateway.port}/v1{CHAT}?api_key={KEY}&key={KEY}"
        stand.refused(await client.post(url, json=planted()), 401, "invalid_api_key")


@pytest.mark.parametrize("path", [f"/{KEY}", f"/models/{KEY}", f"/files/{KEY}"])
async def test_B5_a_key_in_the_path_is_not_logged(stand: Stand, path: str) -> None:
    await stand.client.get(path)
    await stand.client.get(path, headers={"authorization": "Bearer sk-unknown"})
    assert f"{KEY[:8]}…" in stand.lines()[1]["path"]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"sk-\0null", id="B6-null"),
        pytest.param(b"sk-a\r\nx-injected: yes", id="B6-line-end"),
        pytest.param(b"sk-\x1b[31mred", id="B6-escape"),
    ],
)
async def test_control_characters_split_nothing(stand: Stand, value: bytes) -> None:
    wire = await stand.connect()
    data = json.dumps(planted()).encode()
    wire.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (value, len(data), data)
    )
    stand.refused(await wire.answer(), 401 if b"\r\n" in value else 400)
    assert "x-injected" not in stand.outputs.stdout()
    assert all("\x1b" not in line for line in stand.outputs.stdout().splitlines())


def test_B7_a_near_miss_takes_as_long_as_any_other_key() -> None:
    """Welch's t of interleaved tries: noise of the machine falls on both alike."""
    found = bundles.snapshot(bundles.config(), Credentials("", {}))
    rng = random.Random(20261123)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"

    def presented(is_near: bool) -> list[tuple[bytes, bytes]]:
        """Another one each time: one alone may be unlucky in the table of hashes."""
        start = KEY[:-4] if is_near else "".join(rng.choices(letters, k=len(KEY) - 4))
        return [(b"authorization", f"Bearer {start}{''.join(rng.choices(letters, k=4))}".encode())]

    taken_ns: dict[bool, list[int]] = {True: [], False: []}
    order = rng.sample([True, False] * TRIES, 2 * TRIES)
    for is_near, headers in [(each, presented(each)) for each in order]:
        began_ns = time.perf_counter_ns()
        try:
            authenticate(found, headers, service_account=None, now_s=0.0)
        except Unauthorized:
            taken_ns[is_near].append(time.perf_counter_ns() - began_ns)
    bound_ns = statistics.quantiles(taken_ns[True] + taken_ns[False], n=20)[-1]
    one, two = ([each for each in tries if each <= bound_ns] for tries in taken_ns.values())
    error = statistics.variance(one) / len(one) + statistics.variance(two) / len(two)
    assert abs(statistics.mean(one) - statistics.mean(two)) / error**0.5 < 4.5


async def republish(stand: Stand, root: Path, config: Config) -> None:
    bundles.publish(root, config)
    await stand.gateway.parts.source.refresh()


async def test_B8_a_stream_outlives_its_key_and_the_next_request_does_not(tmp_path: Path) -> None:
    gate = asyncio.Event()
    delta = {"choices": [{"index": 0, "delta": {"content": "w"}, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    script: scripts.Script = [
        head(content_type=SSE),
        chunk(event(delta)),
        scripts.until(gate),
        chunk(event(end)) + chunk(event("[DONE]")) + scripts.LAST_CHUNK,
    ]
    async with standing(tmp_path) as stand:
        url = f"{stand.provider.url}/v1"
        stand.provider.answer = script
        async with stand.client.stream("POST", CHAT, json=planted(stream=True)) as answer:
            lines = answer.aiter_lines()
            assert "w" in await anext(lines)
            other = bundles.key("other", secret=OTHER_KEY)
            await republish(stand, tmp_path, bundles.config(bundles.provider(url), keys=(other,)))
            stand.refused(await stand.chat(), 401, "invalid_api_key")
            gate.set()
            assert "data: [DONE]" in [line async for line in lines]
        await republish(stand, tmp_path, bundles.config(bundles.provider(url)))


async def test_B9_a_key_ends_at_its_time(tmp_path: Path) -> None:
    def config(url: str) -> Config:
        key = bundles.key(expires_at_s=int(time.time()) + 2)
        return bundles.config(bundles.provider(url), keys=(key,))

    async with standing(tmp_path, config=config, settle_s=20) as stand:
        assert (await stand.chat()).status_code == 200
        end = time.monotonic() + 5
        while (answer := await stand.chat()).status_code == 200:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        stand.refused(answer, 401, "invalid_api_key")
        stand.next_status = 401


async def test_B10_old_and_new_key_serve_while_they_overlap(tmp_path: Path) -> None:
    """Under load, and the configuration is swapped from one key to both to the new one."""

    def config(url: str, *hashes: KeyHash) -> Config:
        key = bundles.key()
        key = key.model_copy(update={"hashes": hashes or key.hashes})
        return bundles.config(bundles.provider(url), keys=(key,))

    old, new = (bundles.key(secret=secret).hashes[0] for secret in (KEY, OTHER_KEY))
    rotated = old.model_copy(update={"not_after_s": int(time.time()) + 3600})
    async with standing(tmp_path, config=config) as stand:
        url = f"{stand.provider.url}/v1"
        statuses: list[int] = []

        async def load(secret: str, rounds: int) -> None:
            headers = {"authorization": f"Bearer {secret}"}
            for _ in range(rounds):
                answer = await stand.client.post(CHAT, json=planted(), headers=headers)
                statuses.append(answer.status_code)

        async with asyncio.TaskGroup() as group:
            group.create_task(load(KEY, 50))
            await republish(stand, tmp_path, config(url, new, rotated))
            group.create_task(load(OTHER_KEY, 50))
            group.create_task(load(KEY, 50))
        assert statuses == [200] * 150
        await republish(stand, tmp_path, config(url, new))
        stand.refused(await stand.chat(), 401, "invalid_api_key")
        await load(OTHER_KEY, 1)
        assert statuses[-1] == 200
        await republish(stand, tmp_path, config(url))


def two_tenants(url: str) -> Config:
    """Each has a model of its own, and one that its policy has and its key may not use."""
    pools = tuple(
        Pool(id=f"shop/{name}", providers=(bundles.provider(url, name=name, models=(model,)),))
        for name, model in (("ours", "gpt-4o-mini"), ("theirs", "secret-model"))
    )
    ours = Rule(name="ours", targets=(Target(pool="shop/ours"),))
    theirs = Rule(name="theirs", targets=(Target(pool="shop/theirs"),))
    keys: tuple[Key, ...] = (
        bundles.key(),
        bundles.key("other", secret=OTHER_KEY, tenant="b", policy="shop/b"),
    )
    config = bundles.config(
        pools=pools, keys=keys, policy=Policy(id="shop/-", default=True, rules=(ours,))
    )
    return config.model_copy(
        update={"policies": (*config.policies, Policy(id="shop/b", rules=(theirs,)))}
    )


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda s, model: s.chat(model=model), id="B12-chat"),
        pytest.param(lambda s, model: s.client.get(f"/models/{model}"), id="B12-model"),
        pytest.param(
            lambda s, model: s.client.post("/cost/estimate", json=planted(model=model)),
            id="B12-estimate",
        ),
    ],
)
async def test_what_is_anothers_is_told_like_what_is_not_there(
    tmp_path: Path, call: Callable[[Stand, str], Awaitable[httpx.Response]]
) -> None:
    async with standing(tmp_path, config=two_tenants) as stand:
        theirs = await call(stand, "secret-model")
        nobodys = await call(stand, "nobody-model")
        listed = await stand.client.get("/models")
    for answer in (theirs, nobodys):
        stand.refused(answer, 404, "model_not_found")
    assert theirs.text == nobodys.text.replace("nobody-model", "secret-model")
    assert [*theirs.headers] == [*nobodys.headers]
    assert [model["id"] for model in listed.json()["data"]] == ["gpt-4o-mini"]


async def test_B12_of_several_keys_each_sees_its_own_usage(tmp_path: Path) -> None:
    async with standing(tmp_path, config=two_tenants) as stand:
        assert (await stand.chat()).status_code == 200
        other = {"authorization": f"Bearer {OTHER_KEY}"}
        theirs = (await stand.client.get("/usage", headers=other)).json()
    assert theirs["api_key"] == "other"
    assert theirs["models"] == []
    assert "gpt-4o-mini" not in json.dumps(theirs)


async def test_B1_the_health_port_asks_for_no_key_and_tells_nothing(stand: Stand) -> None:
    for path in ("/health/live", "/health/ready", "/health/config", "/health/providers"):
        assert (await stand.health(path)).status_code == 200
    assert raw_request()  # the key in it is the one that `check` looks for everywhere
    assert canaries.found_in(KEY) == ["client key"]
