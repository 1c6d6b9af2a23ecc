from __future__ import annotations

import pytest

from runestone_sidecar.upstream.faults import (
    BodyTooLarge,
    ConnectTimeout,
    FirstByteTimeout,
    LostBeforeHead,
    LostMidBody,
    NotConnected,
    Phase,
    PoolExhausted,
    TlsNotVerified,
    TotalTimeout,
    UpstreamFault,
)
from runestone_sidecar.upstream.origin import Origin, TlsOptions, base_path


@pytest.mark.parametrize(
    ("url", "host", "port", "host_header", "authority"),
    [
        pytest.param(
            "https://api.openai.com/v1",
            "api.openai.com",
            443,
            b"api.openai.com",
            "api.openai.com:443",
            id="https",
        ),
        pytest.param("http://vllm", "vllm", 80, b"vllm", "vllm:80", id="http"),
        pytest.param("http://vllm:8000", "vllm", 8000, b"vllm:8000", "vllm:8000", id="port"),
        pytest.param("https://a:80", "a", 80, b"a:80", "a:80", id="the-other-schemes-port"),
        pytest.param("http://a:80/", "a", 80, b"a", "a:80", id="default-port-named"),
        pytest.param("HTTP://API.Example", "api.example", 80, b"api.example", "api.example:80",
                     id="upper-case"),
        pytest.param("http://[::1]", "::1", 80, b"[::1]", "[::1]:80", id="ipv6"),
        pytest.param("http://[FD00::0:1]:81", "fd00::1", 81, b"[fd00::1]:81", "[fd00::1]:81",
                     id="ipv6-port"),
        pytest.param("https://bücher.example", "xn--bcher-kva.example", 443,
                     b"xn--bcher-kva.example", "xn--bcher-kva.example:443", id="idna"),
        pytest.param("http://my_svc.ns.svc", "my_svc.ns.svc", 80, b"my_svc.ns.svc",
                     "my_svc.ns.svc:80", id="underscore"),
    ],
)  # fmt: skip
def test_origin_of_a_base_url(
    url: str, host: str, port: int, host_header: bytes, authority: str
) -> None:
    origin = Origin.from_base_url(url)
    assert (origin.host, origin.port) == (host, port)
    assert (origin.host_header, origin.authority) == (host_header, authority)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("https://a", b"", id="none"),
        pytest.param("https://a/", b"", id="slash"),
        pytest.param("https://a/v1", b"/v1", id="path"),
        pytest.param("https://a/v1/", b"/v1", id="slash-at-its-end"),
        pytest.param("https://a/x%20y/é", b"/x%20y/%C3%A9", id="escaped"),
    ],
)
def test_path_of_a_base_url(url: str, path: bytes) -> None:
    assert base_path(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "ftp://a",
        "https://",
        "https://a b",
        "https://a\r\nHost: b",
        "https://a\0",
        "https://user:password@a",
        "https://a/?x=1",
        "https://a/#x",
        "https://a:99999",
        "https://a:x",
        "https://[::1",
        "https://[::zz]",
        "https://a,b",
    ],
    ids=repr,
)
def test_no_base_url(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Origin.from_base_url(url)


def test_equal_origins_are_one_key() -> None:
    def make(pem: bytes = b"pem", most: int = 5) -> Origin:
        return Origin.from_base_url(
            "https://a", tls=TlsOptions(bytes(pem)), max_connections=most, max_idle=1
        )

    assert make() == make()
    assert hash(make()) == hash(make())
    assert len({make(), make(), make(pem=b"other"), make(most=6)}) == 3


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        pytest.param(PoolExhausted(), False, id="queue"),
        pytest.param(ConnectTimeout(), False, id="connect"),
        pytest.param(TlsNotVerified("expired"), False, id="tls"),
        pytest.param(TotalTimeout(Phase.QUEUE), False, id="total-in-queue"),
        pytest.param(TotalTimeout(Phase.CONNECT), False, id="total-in-connect"),
        pytest.param(TotalTimeout(Phase.HEAD), True, id="total-in-head"),
        pytest.param(FirstByteTimeout(Phase.HEAD), True, id="first-byte"),
        pytest.param(LostBeforeHead(stale=True), True, id="lost-before-head"),
        pytest.param(LostMidBody(), True, id="lost-mid-body"),
        pytest.param(BodyTooLarge(5), True, id="body-too-large"),
    ],
)
def test_whether_a_request_may_have_been_sent(fault: UpstreamFault, sent: bool) -> None:
    assert fault.sent is sent
    assert fault.kind in str(fault)
    assert not (sent and isinstance(fault, NotConnected))


def test_every_fault_has_a_kind_of_its_own() -> None:
    def tree(cls: type[UpstreamFault]) -> list[type[UpstreamFault]]:
        return [cls, *(leaf for sub in cls.__subclasses__() for leaf in tree(sub))]

    kinds = [cls.kind for cls in tree(UpstreamFault) if cls is not NotConnected]
    assert len(set(kinds)) == len(kinds)
