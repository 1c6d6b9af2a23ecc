"""Files edited while `runestone run` serves: the next request knows, and none fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import openai
import pytest

from runestone_testing.run_command import Gateway, running_gateway, running_llmock
from runestone_testing.shop import CLIENT_KEY, Shop, make_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
CLIENTS = 4


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_llmock(tmp_path_factory.mktemp("llmock")) as url:
        yield url


@pytest.fixture
def shop(tmp_path: Path, llmock: str) -> Shop:
    return make_shop(tmp_path / "shop", provider=llmock)


@pytest.fixture
def gateway(tmp_path: Path, shop: Shop) -> Iterator[Gateway]:
    with running_gateway(tmp_path, "-f", str(shop)) as found:
        yield found


class Load:
    """Clients that ask for one model all the time, by completions and streams in turn."""

    def __init__(self, base_url: str, model: str) -> None:
        self.answered: Counter[str] = Counter()  # by the model that answered
        self.failed: list[str] = []
        self._model = model
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._ask_on(n % 2 == 0)) for n in range(CLIENTS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.close()

    async def until_answered_by(self, model: str, *, more: int = 20) -> None:
        wanted = self.answered[model] + more
        deadline_s = time.monotonic() + 30
        while self.answered[model] < wanted:
            assert time.monotonic() < deadline_s, f"{model}: {self.answered}, {self.failed}"
            await asyncio.sleep(0.01)

    async def _ask_on(self, is_stream: bool) -> None:
        while True:
            try:
                self.answered[await self._ask(is_stream)] += 1
            except openai.OpenAIError as error:
                self.failed.append(repr(error))

    async def _ask(self, is_stream: bool) -> str:
        create = self._client.chat.completions.create
        if not is_stream:
            return (await create(model=self._model, messages=HELLO)).model
        stream = await create(model=self._model, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "stop"
        return chunks[0].model


async def test_an_edit_changes_routing_under_load_without_one_failed_request(
    gateway: Gateway, shop: Shop
) -> None:
    load = Load(gateway.base_url, "smart")
    models = ["gpt-4o", "gpt-4o-mini"]
    async with load.running():
        await load.until_answered_by("gpt-4o")
        for number in range(6):
            old, new = models[number % 2], models[(number + 1) % 2]
            shop.edit("policy.yaml", f"smart: {old}\n", f"smart: {new}\n")
            await load.until_answered_by(new)

    assert load.failed == []
    assert gateway.text.count("RoutingPolicy/default changed: configuration ") == 6


async def test_a_provider_and_its_credential_are_replaced_without_one_failed_request(
    gateway: Gateway, shop: Shop
) -> None:
    """The credential that goes away is in use until the configuration without it serves."""
    load = Load(gateway.base_url, "gpt-4o")
    key = "provider"
    async with load.running():
        await load.until_answered_by("gpt-4o")
        for number in range(4):
            old, key = key, f"spare-{number}"
            shop.edit("secrets.yaml", "  client:", f"  {key}: sk-{key}\n  client:")
            shop.edit("pool.yaml", f"key: {old}}}", f"key: {key}}}")
            await applied(gateway, number + 1)
            await load.until_answered_by("gpt-4o")

    assert load.failed == []
    assert credentials_of(gateway) == ["sk-spare-3"]


def credentials_of(gateway: Gateway) -> list[str]:
    return [path.read_text() for path in (gateway.folder / "credentials").glob("cred-*")]


async def applied(gateway: Gateway, times: int) -> None:
    deadline_s = time.monotonic() + 30
    while gateway.text.count(" serves, after ") < times:
        assert time.monotonic() < deadline_s, gateway.text
        await asyncio.sleep(0.02)


def test_a_broken_edit_is_told_and_the_last_good_state_serves(gateway: Gateway, shop: Shop) -> None:
    shop.edit("policy.yaml", "default: true", "defualt: true")
    gateway.wait_for("not applied, the last good state keeps serving:")
    gateway.wait_for(
        f"{shop}/policy.yaml:5: RoutingPolicy/default: spec.defualt: unknown field"
        " (did you mean default?)"
    )
    assert ask(gateway, "smart") == "gpt-4o"

    shop.edit("policy.yaml", "smart: gpt-4o", "smart: gpt-4o-mini")
    shop.edit("policy.yaml", "defualt: true", "default: true")
    gateway.wait_for("RoutingPolicy/default changed: configuration ")
    assert ask(gateway, "smart") == "gpt-4o-mini"


def test_a_file_that_is_replaced_added_or_removed_counts(gateway: Gateway, shop: Shop) -> None:
    text = (shop.path / "policy.yaml").read_text()
    shop.write(".draft", text.replace("smart: gpt-4o", "smart: gpt-4o-mini"))
    (shop.path / ".draft").rename(shop.path / "policy.yaml")  # as many editors save
    gateway.wait_for("RoutingPolicy/default changed: configuration ")
    assert ask(gateway, "smart") == "gpt-4o-mini"

    (shop.path / "sub").mkdir()
    key = (shop.path / "key.yaml").read_text().replace("name: app}", "name: second}")
    shop.write("sub/key.yaml", key.replace("key: client", "key: second"))
    shop.edit("secrets.yaml", "  client:", "  second: sk-second-0123456789abcdef\n  client:")
    gateway.wait_for("ApiKey/second added")
    assert ask(gateway, "smart", key="sk-second-0123456789abcdef") == "gpt-4o-mini"

    (shop.path / "sub" / "key.yaml").unlink()
    gateway.wait_for("ApiKey/second removed")
    with pytest.raises(openai.AuthenticationError):
        ask(gateway, "smart", key="sk-second-0123456789abcdef")


def test_single_files_are_watched_too(tmp_path: Path, shop: Shop) -> None:
    paths = [f"{shop}/{name}.yaml" for name in ("secrets", "pool", "key", "policy")]
    files = [option for path in paths for option in ("-f", path)]
    with running_gateway(tmp_path, *files) as gateway:
        shop.edit("policy.yaml", "smart: gpt-4o", "smart: gpt-4o-mini")
        gateway.wait_for("RoutingPolicy/default changed: configuration ")


def test_without_watching_nothing_changes(tmp_path: Path, shop: Shop) -> None:
    with running_gateway(tmp_path, "-f", str(shop), "--no-watch") as gateway:
        assert "changes are applied" not in gateway.text
        assert ask(gateway, "smart") == "gpt-4o"


def ask(gateway: Gateway, model: str, *, key: str = CLIENT_KEY) -> str:
    """Which model answered."""
    with openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client:
        return client.chat.completions.create(model=model, messages=HELLO).model
