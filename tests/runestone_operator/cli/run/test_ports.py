"""A port that cannot be had is named, with the option that chooses another."""

from __future__ import annotations

import socket

import pytest

from runestone_operator.cli.failure import CommandError
from runestone_operator.cli.run.ports import check_port, free_port, url


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {port} is taken .* with --health-port"):
            check_port("127.0.0.1", port, "--health-port")


def test_a_free_port_is_free() -> None:
    check_port("127.0.0.1", free_port("127.0.0.1"), "--port")


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(CommandError, match=r"192\.0\.2\.1 is not an address of this machine"):
        check_port("192.0.2.1", 0, "--port")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:4003", id="loopback"),
        pytest.param("0.0.0.0", "http://127.0.0.1:4003", id="everywhere"),
        pytest.param("::", "http://[::1]:4003", id="everywhere, IPv6"),
        pytest.param("gateway.local", "http://gateway.local:4003", id="name"),
    ],
)
def test_the_url_is_one_that_can_be_called(host: str, expected: str) -> None:
    assert url(host, 4003) == expected
