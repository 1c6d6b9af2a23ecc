"""The pages of docs/, read and done from the first to the last, on one cluster.

After the page on monitoring a real Prometheus runs as it says, and while the one on troubleshooting
is read everything that it tells of is there. The last test takes away what the others stand on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing import reasons
from runestone_testing.broken import broken, conditions
from runestone_testing.pages import DOCS
from runestone_testing.platform_team import providers, reader, volume
from runestone_testing.prometheus import alerts, dashboard_queries
from runestone_testing.prometheus_pod import NAMESPACE, prometheus_pod
from runestone_testing.shop_node import FILES, SYSTEM, Standin
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runestone_testing.node import Node
    from runestone_testing.pages import Reader
    from runestone_testing.prometheus import Server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def person(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with volume(node, "docs"), providers(node) as base_url:
        try:
            yield reader(tmp_path_factory.mktemp("checkout"), base_url)
        finally:  # where a page was not read to its end
            for ours in ("demo", SYSTEM):
                node.kubectl("delete", "namespace", ours, "--ignore-not-found", "--timeout=110s")


def done(person: Reader, name: str) -> int:
    """How many commands it had."""
    return len([*person.follow(DOCS / name)])


@pytest.fixture(scope="module")
def started(person: Reader) -> int:
    return done(person, "getting-started.md")


@pytest.fixture(scope="module")
def monitored(person: Reader, started: int) -> int:
    return done(person, "monitoring.md")


def test_getting_started(started: int) -> None:
    assert started > 10


def test_monitoring(monitored: int) -> None:
    assert monitored > 2


@pytest.fixture(scope="module")
def chatter(node: Node, monitored: int) -> Iterator[None]:
    """Requests of all kinds in a second namespace."""
    Standin.of(node).set(refused=["sk-e2e-refused-00000000000000000000"])
    with node.namespace("chatter") as name:
        node.kubectl("apply", "-f", str(FILES / "chatter.yaml"))
        node.wait_ready(name, "chatter")
        yield


@pytest.fixture(scope="module")
def prometheus(node: Node, chatter: None) -> Iterator[Server]:
    config = node.get(SYSTEM, "configmap", "runestone-prometheus")["data"]
    with prometheus_pod(node, config) as server:
        yield server


def up(server: Server) -> list[tuple[str, str]]:
    """Job and namespace of those that it scrapes."""
    found = server.targets()
    targets = [(target["labels"]["job"], target["labels"]["namespace"]) for target in found]
    return sorted(targets) if all(target["health"] == "up" for target in found) else []


def test_prometheus_finds_all_sidecars_and_the_operator(prometheus: Server) -> None:
    wanted = [
        ("runestone-operator", SYSTEM),
        ("runestone-sidecars", "chatter"),
        ("runestone-sidecars", "demo"),
        ("runestone-sidecars", "demo"),
    ]
    wait_until("all are up", lambda: up(prometheus) == wanted, within_s=60, every_s=0.5)


def test_every_query_of_the_dashboard_has_data(prometheus: Server) -> None:
    missing = {expression: title for title, expression in dashboard_queries()}

    def all_answered() -> bool:
        for expression in [one for one in missing if prometheus.query(one)]:
            del missing[expression]
        return not missing

    try:
        wait_until("all have data", all_answered, within_s=120, every_s=1)
    except AssertionError:
        pytest.fail(f"no data: {missing}")


def test_the_alerts_are_loaded_and_evaluated(node: Node, prometheus: Server) -> None:
    checks = ("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    assert f"{len(alerts())} rules found" in node.exec(NAMESPACE, "prometheus", *checks)

    def evaluated() -> set[str]:
        return {rule["name"] for rule in prometheus.rules() if rule["health"] == "ok"}

    wait_until("all are evaluated", lambda: evaluated() == alerts().keys(), every_s=0.5)


def test_a_pod_that_goes_is_no_target_any_more(node: Node, prometheus: Server) -> None:
    node.kubectl("-n", "chatter", "delete", "pod", "chatter", "--timeout=60s")

    def namespaces() -> set[str]:
        return {namespace for _, namespace in up(prometheus)}

    wait_until("it is gone", lambda: namespaces() == {SYSTEM, "demo"}, within_s=60, every_s=0.5)


def test_troubleshooting(node: Node, person: Reader, started: int) -> None:
    with broken(node):
        everything_said_is_on_the_page(node)
        assert done(person, "troubleshooting.md") > 10


def everything_said_is_on_the_page(node: Node) -> None:
    table = set(reasons.rows())
    unseen = set(table)

    def all_seen() -> bool:
        unseen.difference_update(
            *({row for row in table if one.is_example_of(row)} for one in conditions(node))
        )
        return not unseen

    try:
        wait_until("every condition of the page is seen", all_seen, within_s=90, every_s=1)
    except AssertionError:
        pytest.fail(f"on the page and not on the cluster: {sorted(unseen, key=str)}")
    told = {(one.type, one.status, one.reason) for one in conditions(node)}
    assert told == {(row.type, row.status, row.reason) for row in table}


def test_uninstall(person: Reader, started: int) -> None:
    assert done(person, "uninstall.md") > 5
