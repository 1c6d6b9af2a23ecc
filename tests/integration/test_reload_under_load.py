"""P6: reloads under constant load fail nothing, cut nothing, and no answer mixes two of them.

Generation N routes the model "m" to the upstream model "m-N" under the path "/gN" with the key
"sk-generation-N…", and the provider says what it was asked: an answer is consistent when all three
are of the generation whose digest its header names.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from runestone_contract.config import Config, Pool
from runestone_testing import bundles
from runestone_testing.echo import running_echo
from runestone_testing.sidecar import Sidecar, running_sidecar

RELOADS = int(os.environ.get("RUNESTONE_RELOADS", "200"))
RELOAD_EVERY_S = 0.12  # a little more than the sidecar takes to notice
CLIENTS = 4


def generation(number: int, port: int) -> tuple[Config, dict[str, str]]:
    provider = bundles.provider(
        f"http://127.0.0.1:{port}/g{number}", credentials=(f"cred-{number}",)
    ).model_copy(update={"models": (bundles.model("m", upstream=f"m-{number}"),)})
    config = bundles.config(pools=(Pool(id="shop/pool", providers=(provider,)),))
    # The two volumes are swapped one after the other: what is in use stays for one generation more.
    keys = {f"cred-{n}": f"sk-generation-{n}-0000000000" for n in (number - 1, number)}
    return config, keys


def said(stream: str) -> str:
    """The streamed words as one text."""
    events = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events)


async def ask(client: httpx.AsyncClient, *, stream: bool) -> tuple[str, str]:
    """(digest of the configuration, what the provider said); raises where anything is not whole."""
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    answer = await client.post("/chat/completions", json=body)
    answer.raise_for_status()
    if not stream:
        text = answer.json()["choices"][0]["message"]["content"]
    else:
        assert answer.text.endswith("data: [DONE]\n\n"), "the stream was cut"
        text = said(answer.text)
    return answer.headers["x-runestone-config"], text


def belongs(text: str, number: int) -> bool:
    parts = (f"m-{number} ", f"/g{number}/chat/completions", f"sk-generation-{number}-0000000000")
    return all(part in text for part in parts)


@pytest.mark.timeout(300)
async def test_reloads_under_load(tmp_path: Path) -> None:
    with running_echo(chunk_delay_s=0.01, keep_bodies=False) as echo:
        digests: dict[str, int] = {}

        def publish(number: int) -> None:
            config, credentials = generation(number, echo.port)
            digests[bundles.publish(tmp_path, config, credentials)[:12]] = number

        publish(0)
        with running_sidecar(tmp_path, tmp_path) as sidecar:
            outcomes, seen = await _load(sidecar, publish, digests)
            last = sidecar.get("/health/config")[1]
    assert last["refused"] is None
    assert digests[last["digest"][:12]] == RELOADS
    assert set(outcomes) == {"ok"}, outcomes
    assert outcomes["ok"] > RELOADS
    assert len(seen) > RELOADS / 4, "the load hardly met a reload"
    print(f"{RELOADS} reloads, {outcomes['ok']} requests, answers of {len(seen)} configurations")


async def _load(
    sidecar: Sidecar, publish: Callable[[int], None], digests: Mapping[str, int]
) -> tuple[Counter[str], set[int]]:
    outcomes: Counter[str] = Counter()
    seen: set[int] = set()
    over = asyncio.Event()
    headers = {"authorization": f"Bearer {bundles.CLIENT_KEY}"}

    async def user(client: httpx.AsyncClient, *, stream: bool) -> None:
        while not over.is_set():
            try:
                digest, text = await ask(client, stream=stream)
            except Exception as error:
                outcomes[repr(error)[:200]] += 1
                continue
            number = digests[digest]
            seen.add(number)
            outcomes["ok" if belongs(text, number) else f"mixed: {text[:80]}"] += 1

    async with (
        httpx.AsyncClient(base_url=sidecar.base_url, headers=headers, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(CLIENTS):
            group.create_task(user(client, stream=number % 2 == 1))
        for number in range(1, RELOADS + 1):
            await asyncio.sleep(RELOAD_EVERY_S)
            publish(number)
        async with asyncio.timeout(30):
            while RELOADS not in seen:
                await asyncio.sleep(0.02)
        over.set()
    return outcomes, seen
