"""The processes of `runestone run`: brought back after a crash, ended in order, never orphaned."""

from __future__ import annotations

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from runestone_testing.run_command import (
    Gateway,
    answers,
    children_of,
    free_port,
    parent_of,
    running_gateway,
    running_llmock,
    started_gateway,
)
from runestone_testing.shop import CLIENT_KEY, Shop, make_shop
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A slow one: an answer of a dozen words streams for seconds."""
    folder = tmp_path_factory.mktemp("llmock")
    with running_llmock(folder, "--stream-chunk-delay-ms", "300") as url:
        yield url


@pytest.fixture
def shop(tmp_path: Path, llmock: str) -> Shop:
    return make_shop(tmp_path / "shop", provider=llmock)


@pytest.fixture
def gateway(tmp_path: Path, shop: Shop) -> Iterator[Gateway]:
    with running_gateway(tmp_path, "-f", str(shop)) as found:
        yield found


def sidecar_of(gateway: Gateway) -> int | None:
    children = children_of(gateway.pid)
    return next((pid for pid, command in children.items() if "runestone_sidecar" in command), None)


def stream_words(gateway: Gateway, started: Any) -> tuple[str, str | None]:
    """The whole streamed answer, and how it ended; `started` is called at the first chunk."""
    with openai.OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        words, finish = "", None
        for chunk in client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            if not words and chunk.choices[0].delta.content:
                started()
            words += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        return words, finish


def test_a_sidecar_that_is_killed_comes_back(gateway: Gateway) -> None:
    before = sidecar_of(gateway)
    assert before
    os.kill(before, signal.SIGKILL)

    gateway.wait_for("the sidecar was ended by SIGKILL: starting it again")
    wait_until(
        "it serves again",
        lambda: (
            sidecar_of(gateway) not in {None, before}
            and answers(f"{gateway.health_url}/health/ready")
        ),
    )


def test_nothing_outlives_a_run_that_is_killed(gateway: Gateway) -> None:
    children = children_of(gateway.pid)
    assert any("runestone_sidecar" in command for command in children.values())
    assert any("nats-server" in command for command in children.values())

    gateway.signal(signal.SIGKILL)

    wait_until("its children are gone", lambda: not any(map(parent_of, children)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stop_lets_a_running_stream_finish(gateway: Gateway, number: signal.Signals) -> None:
    children = children_of(gateway.pid)
    with ThreadPoolExecutor(1) as thread:
        stream = thread.submit(stream_words, gateway, lambda: gateway.signal(number))
        words, finish = stream.result(60)

    assert words
    assert finish == "stop"
    gateway.wait_for_end()
    assert gateway.exit_code == 0
    assert "stopping: requests under way are answered first" in gateway.text
    assert not any(map(parent_of, children))
    assert not gateway.keeps("credentials")


def test_a_second_signal_stops_at_once(gateway: Gateway) -> None:
    def stop_twice() -> None:
        gateway.signal(signal.SIGTERM)
        gateway.wait_for("stopping")
        gateway.signal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as thread:
        stream = thread.submit(stream_words, gateway, stop_twice)
        with pytest.raises(openai.APIError):
            stream.result(60)

    gateway.wait_for_end()


def test_nats_has_jetstream_and_its_address_is_told(gateway: Gateway) -> None:
    sidecar = sidecar_of(gateway)
    with open(f"/proc/{sidecar}/environ") as environ:
        variables = dict(item.partition("=")[::2] for item in environ.read().split("\0"))
    host, _, port = variables["NATS_URL"].removeprefix("nats://").partition(":")

    with socket.create_connection((host, int(port)), timeout=30) as connection:
        greeting = connection.makefile().readline()

    assert host == "127.0.0.1"
    assert json.loads(greeting.removeprefix("INFO "))["jetstream"] is True
    (server,) = (each for each in children_of(gateway.pid).values() if "nats-server" in each)
    config = Path(server.partition("--config ")[2].split(" ")[0])
    assert "sync_interval: always" in config.read_text()


def test_nats_can_be_left_out(tmp_path: Path, shop: Shop) -> None:
    with running_gateway(tmp_path, "-f", str(shop), "--no-nats") as gateway:
        assert len(children_of(gateway.pid)) == 1


def test_provider_keys_are_in_no_environment_and_no_command_line(
    tmp_path: Path, llmock: str
) -> None:
    env = {"OPENAI_API_KEY": "sk-canary-openai", "OPENAI_BASE_URL": f"{llmock}/v1"}
    with running_gateway(tmp_path, **env) as gateway:
        for pid in children_of(gateway.pid):
            for name in ("environ", "cmdline"):
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    assert b"canary" not in file.read()


def ended(tmp_path: Path, *arguments: str, **env: str) -> tuple[int | None, str]:
    state = ("--state-dir", str(tmp_path / "state"))
    with started_gateway(tmp_path, *state, *arguments, **env) as gateway:
        gateway.wait_for_end()
        return gateway.exit_code, gateway.text


def test_a_taken_port_is_named(tmp_path: Path, shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = ended(tmp_path, "-f", str(shop), "--port", str(port))

    assert code == 1
    assert text == (
        f"runestone: port {port} is taken by another program: choose another with --port"
    )


def test_files_with_mistakes_start_nothing(tmp_path: Path, shop: Shop) -> None:
    shop.edit("pool.yaml", "type: OpenAI", "type: OpenAi")

    code, text = ended(tmp_path, "-f", str(shop), "--port", "0", "--health-port", "0")

    assert code == 1
    assert f"{shop}/pool.yaml:7: ProviderPool/pool: spec.providers[0].type: must be one of" in text
    assert text.endswith("nothing started: 1 error to mend first")


def test_a_sidecar_that_cannot_start_is_given_up(tmp_path: Path, shop: Shop) -> None:
    ports = ("--port", "0", "--health-port", "0")
    code, text = ended(tmp_path, "-f", str(shop), *ports, LOG_LEVEL="loud")

    assert code == 1
    assert "LOG_LEVEL must be one of" in text
    last = "the sidecar ended with exit code 2 before it was ready: giving up"
    assert any(line.endswith(last) for line in text.splitlines())  # asyncio may add a word


def test_without_a_working_nats_server_it_serves(tmp_path: Path, shop: Shop) -> None:
    port = free_port()
    in_the_way = tmp_path / "state" / "run" / f"default-{port}" / "nats"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")
    with running_gateway(tmp_path, "-f", str(shop), "--port", str(port)) as gateway:
        gateway.wait_for("nats-server ended with exit code 1 before it was ready: going on without")
        assert answers(f"{gateway.health_url}/health/ready")


def test_nothing_given_says_what_to_give(tmp_path: Path) -> None:
    code, text = ended(tmp_path, "--port", "0", "--health-port", "0")

    assert code == 2
    assert "OPENAI_API_KEY=sk-... runestone run" in text


def test_a_missing_secret_takes_out_its_provider_and_not_the_rest(
    tmp_path: Path, shop: Shop
) -> None:
    locked = """\
  - name: locked
    type: Anthropic
    credentials: [{secretRef: {name: lost, key: key}}]
    models: [{name: claude-3-5-sonnet}]
"""
    with (shop.path / "pool.yaml").open("a") as pool:
        pool.write(locked)

    with running_gateway(tmp_path, "-f", str(shop)) as gateway:
        assert 'provider "locked": Secret "lost" is not found' in gateway.text
        with openai.OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
            assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices


def test_a_second_run_on_the_same_port_is_told(tmp_path: Path, shop: Shop) -> None:
    port = free_port()
    ports = ("--port", str(port), "--health-port", "0")
    state = ("--state-dir", str(tmp_path / "state"))
    with started_gateway(tmp_path, "-f", str(shop), *ports, *state) as first:
        first.wait_until_greeted()
        (tmp_path / "second").mkdir()
        code, text = ended(tmp_path / "second", "-f", str(shop), *ports)

    assert code == 1
    assert f"port {port} is taken" in text
