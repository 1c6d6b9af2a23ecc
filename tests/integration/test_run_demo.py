"""`hack/run`, the first command of a newcomer: it serves, follows an edit, and leaves nothing."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

from runestone_testing.run_command import (
    START_TIMEOUT_S,
    Gateway,
    children_of,
    free_port,
    parent_of,
)
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
KEY = "sk-rs-demo-app-0123456789abcdefghijklmnopq"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@contextmanager
def started_demo(folder: Path, port: int) -> Iterator[Gateway]:
    options = ["--port", "0", "--health-port", "0", "--state-dir", str(folder / "state")]
    argv = ["/usr/bin/env", f"DEMO_PORT={port}", str(ROOT / "hack" / "run"), *options]
    demo = Gateway(argv, folder / "run.log")
    try:
        yield demo
    finally:
        demo.stop()


def model_of(demo: Gateway, model: str) -> str:
    with openai.OpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as client:
        return client.chat.completions.create(model=model, messages=HELLO).model


def test_it_serves_follows_an_edit_and_ends_whole(tmp_path: Path) -> None:
    with started_demo(tmp_path, free_port()) as demo:
        demo.wait_for("Ctrl-C", within_s=START_TIMEOUT_S)
        assert f'-H "Authorization: Bearer {KEY}"' in demo.text, "the demo's key is no secret"
        assert "from openai import OpenAI" in demo.text
        assert model_of(demo, "smart") == "gpt-4o"
        assert model_of(demo, "claude-3-5-sonnet") == "claude-3-5-sonnet"

        edited = re.search(r"Edit (\S+): changes are applied while requests run", demo.text)
        assert edited
        policy = Path(edited[1], "40-policy.yaml")
        policy.write_text(policy.read_text().replace("smart: gpt-4o", "smart: claude-3-5-sonnet"))
        demo.wait_for("RoutingPolicy/default changed: configuration ")
        assert model_of(demo, "smart") == "claude-3-5-sonnet"

        family = family_of(demo.pid)
        demo.signal(signal.SIGTERM)
        demo.wait_for_end()
        assert demo.exit_code == 0
        assert len(family) >= 4, "the gateway, its sidecar, nats-server and the provider"
        assert not any(map(parent_of, family))


def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    with started_demo(tmp_path, free_port()) as demo:
        demo.wait_for("Ctrl-C", within_s=START_TIMEOUT_S)
        family = family_of(demo.pid)

        demo.signal(signal.SIGKILL)

        wait_until("all are gone", lambda: not any(map(parent_of, family)))


def family_of(pid: int) -> set[int]:
    children = set(children_of(pid))
    return children.union(*map(family_of, children))


def test_a_taken_port_of_the_provider_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started_demo(tmp_path, port) as demo:
            demo.wait_for_end()

    assert demo.exit_code == 1
    assert f"port {port} is taken" in demo.text
    assert "DEMO_PORT=" in demo.text


def test_the_samples_are_in_order() -> None:
    from runestone_operator.cli.main import main

    assert main(["validate", "-f", str(ROOT / "hack" / "samples")]) == 0
