"""Webhooks to where nobody may send one, and to receivers that misbehave: G1 to G6."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_sidecar.overflow.webhooks.guard import Guard
from runestone_sidecar.overflow.webhooks.metrics import Outcome
from runestone_sidecar.overflow.webhooks.post import Poster
from runestone_sidecar.overflow.webhooks.resolve import Resolver, Unresolved
from runestone_sidecar.overflow.webhooks.urls import BadUrl, parse_url
from runestone_sidecar.settings import read_settings
from runestone_sidecar.upstream.dial import Dialer
from runestone_sidecar.upstream.tunnel import ProxySettings
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.authority import Authority
from runestone_testing.job_stand import ASYNC, HOOK_ENTRY, HOOK_SECRET, OVERFLOW_KEY, question
from runestone_testing.job_webhooks import HEADER, TAKEN, hooked
from runestone_testing.nats import nats_server
from runestone_testing.provider import Provider, head, reply
from runestone_testing.sidecar import running_sidecar, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from runestone_sidecar.overflow.webhooks.post import Answer
    from runestone_testing.provider import Script

UNREADABLE = "invalid_webhook_url"
FORBIDDEN = "webhook_not_allowed"

# Each is on the key's list: it is not the list that keeps it out.
ADDRESSES = {
    "http://127.0.0.1/": FORBIDDEN,
    "http://127.255.255.254/": FORBIDDEN,
    "http://127.0.0.1:4004/": FORBIDDEN,
    "http://0.0.0.0/": FORBIDDEN,
    "http://0.1.2.3/": FORBIDDEN,
    "http://10.0.0.1/": FORBIDDEN,
    "http://10.96.0.1:443/": FORBIDDEN,
    "http://172.16.0.1/": FORBIDDEN,
    "http://172.31.255.255/": FORBIDDEN,
    "http://192.168.1.1/": FORBIDDEN,
    "http://100.64.0.1/": FORBIDDEN,
    "http://169.254.169.254/latest/meta-data": FORBIDDEN,
    "http://169.254.170.2/": FORBIDDEN,
    "http://100.100.100.200/": FORBIDDEN,
    "http://192.0.0.192/": FORBIDDEN,
    "http://168.63.129.16/": FORBIDDEN,
    "http://198.18.0.1/": FORBIDDEN,
    "http://192.0.2.1/": FORBIDDEN,
    "http://224.0.0.1/": FORBIDDEN,
    "http://240.0.0.1/": FORBIDDEN,
    "http://255.255.255.255/": FORBIDDEN,
    "http://[::1]/": FORBIDDEN,
    "http://[0:0:0:0:0:0:0:1]/": FORBIDDEN,
    "http://[::]/": FORBIDDEN,
    "http://[fe80::1]/": FORBIDDEN,
    "http://[fd00:ec2::254]/": FORBIDDEN,
    "http://[fd20:ce::254]/": FORBIDDEN,
    "http://[fc00::1]/": FORBIDDEN,
    "http://[ff02::1]/": FORBIDDEN,
    "http://[::ffff:127.0.0.1]/": FORBIDDEN,
    "http://[::ffff:7f00:1]/": FORBIDDEN,
    "http://[::ffff:169.254.169.254]/": FORBIDDEN,
    "http://[::127.0.0.1]/": FORBIDDEN,
    "http://[64:ff9b::127.0.0.1]/": FORBIDDEN,
    "http://[64:ff9b::a9fe:a9fe]/": FORBIDDEN,
    "http://[64:ff9b:1::7f00:1]/": FORBIDDEN,
    "http://[2002:7f00:1::]/": FORBIDDEN,
    "http://[2001::7f00:1]/": FORBIDDEN,
    "http://[2001:db8::1]/": FORBIDDEN,
    "http://2130706433/": UNREADABLE,
    "http://0x7f000001/": UNREADABLE,
    "http://0x7f.1/": UNREADABLE,
    "http://127.1/": UNREADABLE,
    "http://127.0.1/": UNREADABLE,
    "http://0177.0.0.1/": UNREADABLE,
    "http://017700000001/": UNREADABLE,
    "http://127.0.0.01/": UNREADABLE,
    "http://0xa9fea9fe/": UNREADABLE,
    "http://[fe80::1%25eth0]/": UNREADABLE,
    "http://①②⑦.⓪.⓪.①/": UNREADABLE,
    "http://127。0。0。1/": UNREADABLE,
}
NAMES = [
    *("localhost", "a.localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    *("kubernetes.default.svc.cluster.local", "hooks.shop.svc", "hooks.shop.svc.cluster.local"),
    *("metadata", "metadata.google.internal", "ip-10-0-0-1.ec2.internal", "instance-data"),
    *("printer.local", "intranet", "LOCALHOST", "Kubernetes.Default.SVC"),
]
FORMS = {  # G4
    "user": "http://user@hooks.example/",
    "user and password": "http://user:pass@hooks.example/",
    "host as user": "http://hooks.example@127.0.0.1/",
    "host as user, encoded": "http://hooks.example%40127.0.0.1/",
    "fragment": "https://hooks.example/#@127.0.0.1/",
    "fragment in the host": "https://127.0.0.1#.hooks.example/",
    "encoded CRLF": "https://hooks.example/%0d%0aHost:%20evil",
    "encoded LF in the query": "https://hooks.example/x?a=%0A",
    "encoded NUL": "https://hooks.example/%00",
    "tab": "https://hooks.example/a\tb",
    "blank": "https://hooks.example/a b",
    "backslash": "https://hooks.example\\@127.0.0.1/",
    "backslash in the path": "https://hooks.example/\\..\\admin",
    "ftp": "ftp://hooks.example/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://hooks.example/",
    "javascript": "javascript:alert(1)",
    "data": "data:text/plain,hello",
    "no scheme": "//hooks.example/",
    "no host": "http:///x",
    "port 0": "http://hooks.example:0/",
    "port 65536": "http://hooks.example:65536/",
    "port of letters": "http://hooks.example:http/",
    "two ports": "http://hooks.example:80:80/",
    "dot at the end": "http://localhost./",
    "climbing": "https://hooks.example/a/../b",
    "climbing, encoded": "https://hooks.example/a/%2e%2e/b",
    "climbing, encoded slash": "https://hooks.example/a/..%2fb",
    "climbing, encoded twice": "https://hooks.example/a/%252e%252e/b",
    "climbing, with parameters": "https://hooks.example/a/..;x/b",
    "climbing, backslash": "https://hooks.example/a/..%5cb",
    "too long": "https://hooks.example/" + "a" * 2048,
    "empty": "",
}


def pattern_of(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/*"


@pytest.fixture(scope="module")
def door() -> Iterator[httpx.Client]:
    """A sidecar that takes jobs and runs none, for a key whose list has all of these."""
    names = [f"http://{name}/" for name in NAMES]
    patterns = {pattern_of(url) for url in (*ADDRESSES, *names, *FORMS.values())}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats = stack.enter_context(nats_server())
        config = bundles.config(keys=(hooked(*sorted(patterns), "https://hooks.example/*"),))
        made = bundles.provider("http://127.0.0.1:9/v1")
        config = bundles.config(made, keys=config.keys)
        secrets = {"cred-a": "x", OVERFLOW_KEY_ENTRY: OVERFLOW_KEY, HOOK_ENTRY: HOOK_SECRET}
        bundles.publish(root, config, secrets)
        sidecar = stack.enter_context(
            running_sidecar(root, root, NATS_URL=nats.url, RUNESTONE_JOBS_AT_ONCE="0")
        )
        wait_until("jobs are taken", lambda: sidecar.get("/health/ready")[1]["status"] == "ok")
        headers = {"authorization": f"Bearer {bundles.CLIENT_KEY}", **ASYNC}
        yield stack.enter_context(
            httpx.Client(base_url=sidecar.api, headers=headers, trust_env=False, timeout=60)
        )


def asked(door: httpx.Client, url: str) -> httpx.Response:
    headers = {HEADER: url.encode()}
    return door.post("/v1/chat/completions", json=question(), headers=headers)  # type: ignore[arg-type]


def refused(door: httpx.Client, url: str, code: str) -> None:
    answer = asked(door, url)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("Runestone-Webhook-URL", code)
    assert door.get("/v1/jobs").json()["data"] == []


def ids_of(fault: str) -> Callable[[object], str]:
    return lambda text: f"{fault}-{text}"


@pytest.mark.parametrize("url", ADDRESSES, ids=ids_of("G1"))
def test_an_address_that_nobody_may_reach_is_refused(door: httpx.Client, url: str) -> None:
    refused(door, url, ADDRESSES[url])


@pytest.mark.parametrize("name", NAMES, ids=ids_of("G1"))
def test_a_name_that_only_leads_there_is_refused(door: httpx.Client, name: str) -> None:
    refused(door, f"http://{name}/", FORBIDDEN)


@pytest.mark.parametrize("form", FORMS, ids=ids_of("G4"))
def test_a_url_that_two_may_read_in_two_ways_is_refused(door: httpx.Client, form: str) -> None:
    refused(door, FORMS[form], UNREADABLE)


def test_a_name_of_the_world_is_promised(door: httpx.Client) -> None:
    """Else the rest here would be true of anything."""
    taken = asked(door, "https://hooks.example/done?x=1")
    assert taken.status_code == 202
    door.delete(taken.headers["location"])


# --- what is looked at where the connection is made


class Names(Resolver):
    """A name server in the hands of an attacker."""

    def __init__(self, *answers: Sequence[str]) -> None:
        super().__init__()
        self.answers = [*answers]

    async def resolve(self, host: str, port: int) -> list[IPv4Address | IPv6Address]:
        if not self.answers:
            raise Unresolved
        found = [parse_url(f"http://{text}/").address for text in self.answers.pop(0)]
        return [address for address in found if address]


def guard_of(allowed: str = "127.0.0.1/32", denied: str = "", **env: str) -> Guard:
    settings = read_settings(
        {
            "RUNESTONE_WEBHOOK_ALLOW_CIDRS": allowed,
            "RUNESTONE_WEBHOOK_DENY_CIDRS": denied,
            **env,
        }
    )
    ports = frozenset({settings.port, settings.health_port})
    return Guard(settings.webhook_allow, settings.webhook_deny, ports)


IN_A_CLUSTER = guard_of("10.0.0.0/8", KUBERNETES_SERVICE_HOST="10.96.0.1")


async def posted(
    url: str, *answers: Sequence[str], guard: Guard | None = None, total_s: float = 20.0
) -> Answer:
    poster = Poster(Dialer(ProxySettings()), guard or guard_of(), Names(*answers), total_s)
    return await poster.post(parse_url(url), b"x: y\r\n", b"{}")


async def test_G2_what_was_judged_is_what_is_connected_to() -> None:
    """A name that nobody else can resolve: there is no second look at it."""
    async with Provider(TAKEN) as receiver:
        url = f"http://hooks.example:{receiver.port}/"
        answer = await posted(url, ["127.0.0.1"], ["127.0.0.2"])
        assert answer.outcome is Outcome.DELIVERED
        assert receiver.requests[0].header("host") == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.2"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1", "[::1]"], ["[::ffff:10.0.0.1]"]],
    ids=["G2-private", "G2-one-of-two", "G2-other-family", "G2-mapped"],
)
async def test_a_name_that_leads_astray_is_not_followed(answer: list[str]) -> None:
    async with Provider(TAKEN) as receiver:
        found = await posted(f"http://hooks.example:{receiver.port}/", answer)
        assert found.outcome is Outcome.FORBIDDEN
        assert receiver.peers == []


async def test_G2_every_attempt_is_judged_anew() -> None:
    async with Provider(TAKEN) as receiver:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        poster = Poster(Dialer(ProxySettings()), guard_of(), names)
        url = parse_url(f"http://hooks.example:{receiver.port}/")
        outcomes = [(await poster.post(url, b"", b"{}")).outcome for _ in range(2)]
        assert outcomes == [Outcome.DELIVERED, Outcome.FORBIDDEN]
        assert len(receiver.peers) == 1


async def test_G2_the_certificate_is_of_the_name_and_not_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with Provider(TAKEN, tls=authority.server_context("hooks.example")) as receiver:
        right = await posted(f"https://hooks.example:{receiver.port}/", ["127.0.0.1"])
        assert right.outcome is Outcome.DELIVERED
        wrong = await posted(f"https://other.example:{receiver.port}/", ["127.0.0.1"])
        assert wrong.outcome is Outcome.TLS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308], ids=ids_of("G3"))
async def test_a_redirect_is_followed_nowhere(status: int) -> None:
    async with Provider(TAKEN) as private, Provider() as receiver:
        receiver.answer = reply(b"", status, [("location", f"{private.url}/")])
        found = await posted(f"{receiver.url}/")
        assert (found.outcome, found.status) == (Outcome.REFUSED, status)
        assert private.peers == []


@pytest.mark.parametrize(
    ("host", "port", "guard"),
    [
        pytest.param("127.0.0.1", 4004, guard_of("127.0.0.0/8"), id="G1-own-port"),
        pytest.param("10.2.3.4", 80, guard_of("10.0.0.0/8", "10.2.0.0/16"), id="G1-pods"),
        pytest.param("8.8.8.8", 80, guard_of("", "8.8.0.0/16"), id="G1-pods-of-public-addresses"),
        pytest.param("169.254.169.254", 80, guard_of("0.0.0.0/0"), id="G1-metadata-whatever"),
        pytest.param("0.0.0.0", 80, guard_of("0.0.0.0/0"), id="G1-unspecified-whatever"),
        pytest.param("[fd00:ec2::254]", 80, guard_of("::/0"), id="G1-metadata-by-IPv6"),
        pytest.param("10.96.0.1", 443, IN_A_CLUSTER, id="G1-api"),
    ],
)
def test_what_is_let_in_has_its_bounds(host: str, port: int, guard: Guard) -> None:
    address = parse_url(f"http://{host}/").address
    assert address is not None
    assert not guard.admits(address, port)


@pytest.mark.parametrize(
    ("host", "guard"),
    [
        ("8.8.8.8", Guard()),
        ("[2606:4700::1111]", Guard()),
        ("[64:ff9b::808:808]", Guard()),
        ("[::ffff:8.8.8.8]", Guard()),
        ("10.1.2.3", guard_of("10.1.0.0/16")),
        ("[fd12::1]", guard_of("fd12::/16")),
        ("[64:ff9b::a01:203]", guard_of("10.1.0.0/16")),
    ],
    ids=str,
)
def test_what_belongs_to_everybody_or_is_let_in_is_reached(host: str, guard: Guard) -> None:
    address = parse_url(f"http://{host}/").address
    assert address is not None
    assert guard.admits(address, 443)


# --- receivers that misbehave


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        pytest.param([scripts.hang()], Outcome.TIMEOUT, id="G5-hangs"),
        pytest.param([scripts.drip(TAKEN * 100, 0.05)], Outcome.TIMEOUT, id="G5-drips-its-head"),
        pytest.param(reply(b"", 500), Outcome.REFUSED, id="G5-500"),
        pytest.param(reply(b"", 410), Outcome.GONE, id="G5-410"),
        pytest.param(reply(b"", 429), Outcome.REFUSED, id="G5-429"),
        pytest.param([scripts.reset()], Outcome.BROKEN, id="G5-resets"),
        pytest.param(b"hello\r\n\r\n", Outcome.BROKEN, id="G5-speaks-no-HTTP"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\n", scripts.drip(b"x: y\r\n" * 100_000, 0, 65536)],
            Outcome.BROKEN,
            id="G5-head-without-end",
        ),
    ],
)
async def test_a_receiver_that_misbehaves_is_waited_for_in_bounds(
    script: Script, outcome: Outcome
) -> None:
    async with Provider(script) as receiver:
        assert (await posted(f"{receiver.url}/", total_s=0.5)).outcome is outcome


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([scripts.drip(b"x" * 10_000, 0.05)], id="G5-one-byte-at-a-time"),
        pytest.param([scripts.drip(b"x" * (1 << 30), 0, 1 << 20)], id="G5-10-GB"),
    ],
)
async def test_the_body_of_an_answer_is_nobodys_business(body: list[scripts.Action]) -> None:
    size = 10 * 10**9
    begin = head(200, [("content-length", str(size))])
    async with Provider([begin, *body]) as receiver:
        assert (await posted(f"{receiver.url}/")).outcome is Outcome.DELIVERED
        peer = await receiver.connected()
        await peer.closed()
        assert peer.sent_bytes < 64 << 20


def test_G6_what_an_url_says_in_a_log_is_its_host() -> None:
    assert (
        parse_url("https://Hooks.example:8443/t/secret?x=y").shown == "https://hooks.example:8443"
    )
    with pytest.raises(BadUrl):
        parse_url("https://hooks.example/secret\n")
