"""Streams lost on the way, clients that leave, drains, and starts without a configuration."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runestone_testing import bundles
from runestone_testing.echo import Echo, running_echo
from runestone_testing.sidecar import ROOT, Sidecar, running_sidecar, wait_until

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
HEADERS = {"authorization": f"Bearer {bundles.CLIENT_KEY}"}


@pytest.fixture
def slow_echo() -> Iterator[Echo]:
    with running_echo(chunk_delay_s=0.2) as found:
        yield found


def serving(echo: Echo, root: Path) -> Path:
    bundles.publish(root, bundles.config(bundles.provider(echo.url)))
    return root


def start_stream(sidecar: Sidecar) -> socket.socket:
    """A raw connection whose stream has begun."""
    data = json.dumps(BODY | {"stream": True}).encode()
    host, _, port = sidecar.api.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (bundles.CLIENT_KEY.encode(), len(data), data)
    )
    received = b""
    while b"data: " not in received:
        received += client.recv(65536)
    return client


def test_h7_sigterm_lets_streams_end_and_takes_readiness_away(
    slow_echo: Echo, tmp_path: Path
) -> None:
    with running_sidecar(serving(slow_echo, tmp_path), tmp_path) as sidecar:
        client = start_stream(sidecar)
        sidecar.process.send_signal(signal.SIGTERM)
        wait_until("it is not ready", lambda: sidecar.get("/health/ready")[0] == 503)
        received = b""
        while part := client.recv(65536):
            received += part
        client.close()
        assert b"data: [DONE]" in received
        assert received.endswith(b"0\r\n\r\n")
        assert sidecar.process.wait(30) == 0
        assert any(line["message"] == "drained" for line in sidecar.lines())


def test_h8_a_second_sigterm_ends_it_at_once(slow_echo: Echo, tmp_path: Path) -> None:
    with running_sidecar(serving(slow_echo, tmp_path), tmp_path) as sidecar:
        client = start_stream(sidecar)
        sidecar.process.send_signal(signal.SIGTERM)
        wait_until("it drains", lambda: sidecar.get("/health/ready")[0] == 503)
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(30) == 0
        client.close()


def test_h7_sigterm_sends_away_at_once_who_waits_for_a_limit(
    slow_echo: Echo, tmp_path: Path
) -> None:
    one_at_a_time = bundles.key(limits={"concurrent_requests": 1}, overflow={"mode": "Wait"})
    config = bundles.config(bundles.provider(slow_echo.url), keys=(one_at_a_time,))
    bundles.publish(tmp_path, config)
    with running_sidecar(tmp_path, tmp_path) as sidecar:
        running = start_stream(sidecar)
        answers: list[httpx.Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{sidecar.base_url}/chat/completions", json=BODY, headers=HEADERS)
            )
        )
        waiting.start()
        wait_until(
            "it waits", lambda: sidecar.metric("runestone_waiting_requests", api_key="shop/app")
        )
        sidecar.process.send_signal(signal.SIGTERM)
        waiting.join(30)
        (answer,) = answers
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "draining"
        assert answer.headers["retry-after"] == "1"
        received = b""
        while part := running.recv(65536):
            received += part
        running.close()
        assert b"data: [DONE]" in received
        assert sidecar.process.wait(30) == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_f1_f3_a_client_that_leaves_ends_the_call_to_the_provider(
    tmp_path: Path, stream: bool
) -> None:
    closed, called = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def provide() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if stream:
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                        b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
                    )
                called.set()
                while connection.recv(65536):
                    pass
                closed.set()

        threading.Thread(target=provide, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        bundles.publish(tmp_path, bundles.config(bundles.provider(url)))
        with running_sidecar(tmp_path, tmp_path) as sidecar:
            if stream:
                client = start_stream(sidecar)
            else:
                data = json.dumps(BODY).encode()
                host, _, port = sidecar.api.removeprefix("http://").partition(":")
                client = socket.create_connection((host, int(port)))
                client.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                    b"content-type: application/json\r\nauthorization: Bearer %b\r\n"
                    b"content-length: %d\r\n\r\n%b" % (bundles.CLIENT_KEY.encode(), len(data), data)
                )
            assert called.wait(30)
            left = time.monotonic()
            client.close()
            assert closed.wait(30)
            assert time.monotonic() - left < 10
            wait_until("it is counted", lambda: sidecar.metric("runestone_client_gone_total") == 1)
            assert sidecar.metric("runestone_requests_in_flight") == 0
            shown = sidecar.get("/health/providers")[1]["providers"][0]
            assert shown["in_flight"] == 0
            line = wait_until(
                "it is logged",
                lambda: [each for each in sidecar.lines() if each.get("status") == 499],
            )[0]
            assert line["path"] == "/v1/chat/completions"


def test_it_starts_without_a_configuration_and_waits_for_one(tmp_path: Path) -> None:
    with (
        running_echo() as echo,
        running_sidecar(tmp_path, tmp_path) as sidecar,
        httpx.Client(base_url=sidecar.base_url, headers=HEADERS, trust_env=False) as client,
    ):
        assert sidecar.get("/health/live")[0] == 200
        assert sidecar.get("/health/ready")[0] == 503
        answer = client.post("/chat/completions", json=BODY)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"
        assert answer.headers["retry-after"] == "1"
        digest = bundles.publish(tmp_path, bundles.config(bundles.provider(echo.url)))
        sidecar.wait_for_digest(digest)
        assert sidecar.get("/health/ready")[0] == 200
        assert client.post("/chat/completions", json=BODY).status_code == 200


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = subprocess.run(
            [sys.executable, "-m", "runestone_sidecar"],
            env={
                "PYTHONPATH": f"{ROOT}/sidecar",
                "PORT": str(taken.getsockname()[1]),
                "RUNESTONE_CONFIG_DIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "127.0.0.1" in ended.stderr
    assert "in use" in ended.stderr


def test_h9_a_sigterm_while_the_files_are_read_ends_it_in_order(tmp_path: Path) -> None:
    # A pipe in the place of the index: its reader waits for us, and so we know that it reads.
    (tmp_path / "config").mkdir()
    os.mkfifo(tmp_path / "config" / "index.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "runestone_sidecar"],
        env={
            "PYTHONPATH": f"{ROOT}/sidecar",
            "PORT": "0",
            "HEALTH_PORT": "0",
            "RUNESTONE_CONFIG_DIR": str(tmp_path / "config"),
        },
        stdout=subprocess.PIPE,
    )
    try:
        pipe = wait_until("it reads its files", lambda: _open_if_read(tmp_path))
        process.send_signal(signal.SIGTERM)
        os.close(pipe)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert b'"drained"' in output


def _open_if_read(root: Path) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(root / "config" / "index.json", os.O_WRONLY | os.O_NONBLOCK)
    return None


def test_h10_the_rest_is_told_when_the_grace_is_over(tmp_path: Path) -> None:
    with running_echo(chunk_delay_s=30) as echo:
        with running_sidecar(
            serving(echo, tmp_path), tmp_path, RUNESTONE_DRAIN_SECONDS="1"
        ) as sidecar:
            client = start_stream(sidecar)
            sidecar.process.send_signal(signal.SIGTERM)
            received = b""
            while part := client.recv(65536):
                received += part
            client.close()
            assert sidecar.process.wait(30) == 0
            lines = sidecar.lines()
    assert b'"code":"draining"' in received
    assert not received.endswith(b"0\r\n\r\n")
    assert [line for line in lines if line["level"] == "error" and "exception" in line] == []
    assert [line for line in lines if line.get("interrupted") == "draining"]
