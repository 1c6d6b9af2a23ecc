"""Clusters come up, mend themselves and go, whatever befell them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runestone_testing.node import ROOT, Node
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e


def on_the_machine(*command: str) -> str:
    """Tests run in the network of a cluster, hack/e2e itself in the machine's."""
    done = subprocess.run(
        ["nsenter", f"--target={os.environ['RUNESTONE_OUTSIDE']}", "--net", "--", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def cluster(verb: str, name: str, *options: str) -> str:
    return on_the_machine(str(ROOT / "hack" / f"cluster-{verb}"), f"--name={name}", *options)


def folder_of(kubeconfig_line: str) -> Path:
    return Path(kubeconfig_line.strip().removeprefix("export KUBECONFIG=")).parent


def process_one(folder: Path) -> int:
    return int((folder / "node.pid").read_text().split()[0])


def traces(name: str) -> set[str]:
    """What the machine shows of a cluster: devices, groups, mounts, processes."""
    devices = {line.split()[1] for line in on_the_machine("ip", "-o", "link").splitlines()}
    groups = {str(path) for path in Path("/sys/fs/cgroup").rglob(f"runestone/{name}")}
    mounts = {line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line}
    processes = {
        line for line in on_the_machine("ps", "-eo", "args").splitlines() if f"/{name}/" in line
    }
    return devices | groups | mounts | processes


@pytest.fixture
def second() -> Iterator[str]:
    name = f"second-{os.getpid()}"
    yield name
    cluster("down", name)


def test_a_program_that_ends_is_started_again(node: Node) -> None:
    folder = Path(os.environ["KUBECONFIG"]).parent
    children = on_the_machine("ps", "-o", "pid=,comm=", f"--ppid={process_one(folder)}")
    (server,) = [line.split()[0] for line in children.splitlines() if "kube-apiserver" in line]

    os.kill(int(server), signal.SIGKILL)

    wait_until("it answers", lambda: node.try_kubectl("get", "--raw", "/readyz").returncode == 0)
    assert "kube-apiserver ended with status -9" in (folder / "log/node.log").read_text()


def test_a_killed_cluster_is_made_anew_and_leaves_nothing(second: str) -> None:
    before = traces(second)
    folder = folder_of(cluster("up", second, "--no-images"))
    first = process_one(folder)
    assert traces(second) > before

    cluster("up", second, "--no-images")
    assert process_one(folder) == first

    os.kill(first, signal.SIGKILL)
    cluster("up", second, "--no-images")
    assert process_one(folder) != first

    cluster("down", second)
    assert traces(second) == before
    assert not folder.exists()
