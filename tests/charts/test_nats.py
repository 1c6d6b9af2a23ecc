"""The rendered nats.conf, read and served by the real nats-server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.charts import merged, one, render
from runestone_testing.child_process import ChildProcess

if TYPE_CHECKING:
    from runestone_testing.charts import Values

pytestmark = pytest.mark.kube
SERVER = str(Path(sys.executable).with_name("nats-server"))
OPEN = {"nats": {"auth": {"enabled": False}}}
THREE = {"nats": {"replicas": 3}}
VARIANTS: dict[str, Values] = {
    "one": {},
    "three": THREE,
    "open": OPEN,
    "three-open": merged(THREE, OPEN),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def configuration(values: Values) -> str:
    text: str = one(render(values), "ConfigMap", "-nats")["data"]["nats.conf"]
    return text


def write(folder: Path, text: str, *, ports: dict[str, int] | None = None) -> Path:
    """As the pod would have it, but that its folders and ports are ours."""
    for path in ("/data", "/var/run/nats"):
        text = text.replace(path, str(folder / path.rpartition("/")[2]))
    for name, port in (ports or {}).items():
        text = re.sub(rf"^( *{name}: )\d+$", rf"\g<1>{port}", text, flags=re.M)
    (folder / "auth").mkdir()
    (folder / "auth" / "auth.conf").write_text(
        "accounts { A: { users: [{user: a, password: b}] } }"
    )
    (folder / "nats").mkdir()
    file = folder / "nats.conf"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", VARIANTS)
def test_nats_server_accepts_it(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, configuration(VARIANTS[name]))
    done = subprocess.run(
        [SERVER, "-t", "-c", file],
        env={"POD_NAME": "runestone-nats-0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def asked(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return json.load(answer)


def test_it_stores_before_it_acknowledges(tmp_path: Path) -> None:
    ports = {"port": free_port(), "http_port": free_port()}
    file = write(tmp_path, configuration({"nats": {"maxPayload": "2MB"}}), ports=ports)
    monitor, stateful = ports["http_port"], one(render({}), "StatefulSet", "-nats")
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    arguments = ["/usr/bin/env", "POD_NAME=runestone-nats-0", SERVER, "-a", "127.0.0.1"]
    server = ChildProcess([*arguments, "-c", str(file)], log=tmp_path / "log")
    try:
        server.wait_until(lambda: is_up(monitor), timeout_s=30)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert asked(monitor, container[probe]["httpGet"]["path"]) == {"status": "ok"}
        told = asked(monitor, "/varz")
        assert told["server_name"] == "runestone-nats-0"
        assert told["max_payload"] == 2 * 1024 * 1024
        assert told["jetstream"]["config"]["sync_always"] is True
        assert told["jetstream"]["config"]["max_storage"] == 10 * 1024**3  # of the volume, no more
        assert told["jetstream"]["config"]["store_dir"] == str(
            tmp_path / "data/jetstream/jetstream"
        )
        assert (tmp_path / "nats" / "nats.pid").read_text().strip() == str(server.pid)
    finally:
        server.stop()


def is_up(port: int) -> bool:
    try:
        return bool(asked(port, "/healthz") == {"status": "ok"})
    except OSError:
        return False


def test_pods_start_anew_when_the_configuration_changes_and_only_then() -> None:
    def checksum(values: Values) -> str:
        pod = one(render(values), "StatefulSet", "-nats")["spec"]["template"]
        return str(pod["metadata"]["annotations"]["runestone.dev/checksum"])

    assert checksum({"nats": {"maxPayload": "2MB"}}) != checksum({})
    assert checksum({"operator": {"replicas": 2}}) == checksum({})


def test_servers_of_a_cluster_know_each_other_by_names_that_exist() -> None:
    found = render(THREE)
    headless = one(found, "Service", "-headless")["metadata"]
    stateful = one(found, "StatefulSet", "-nats")
    routes = re.findall(r"nats://(\S+?):6222", configuration(THREE))
    pods = [f"{stateful['metadata']['name']}-{number}" for number in range(3)]
    assert routes == [f"{pod}.{headless['name']}.{headless['namespace']}.svc" for pod in pods]
    assert stateful["spec"]["serviceName"] == headless["name"]


def test_accounts_are_the_operators_to_make() -> None:
    found = render({})
    pod = one(found, "StatefulSet", "-nats")["spec"]["template"]["spec"]
    (config,) = (volume for volume in pod["volumes"] if volume["name"] == "config")
    secret = config["projected"]["sources"][1]["secret"]
    assert secret == {
        "name": "runestone-nats-auth",
        "items": [{"key": "auth.conf", "path": "auth/auth.conf"}],
    }
    (operator,) = one(found, "Deployment", "-operator")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in operator["env"]}
    assert env["RUNESTONE_NATS_ACCOUNTS_URL"] == "nats://runestone-nats.runestone-system.svc:4222"
    assert env["RUNESTONE_NATS_RESOLVER_DIR"] == "/data/jwt"  # on the volume


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, True, id="own"),
        pytest.param({"auth": {"enabled": False}}, False, id="own, open"),
        pytest.param({"enabled": False, "url": "nats://n"}, False, id="external"),
        pytest.param(
            {"enabled": False, "url": "nats://n", "auth": {"external": True}}, True, id="trusts us"
        ),
        pytest.param({"enabled": False, "auth": {"external": True}}, False, id="none"),
    ],
)
def test_who_makes_the_accounts(values: Values, expected: bool) -> None:
    operator = one(render({"nats": values}), "Deployment", "-operator")
    assert ("RUNESTONE_NATS_ACCOUNTS_URL" in str(operator)) == expected
