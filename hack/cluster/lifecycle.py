"""From nothing to a cluster that is ready, and back to nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import addons, cgroups, images, machine, previous
from cluster.buildah import Buildah
from cluster.components import write_config
from cluster.credentials import write_credentials
from cluster.errors import ClusterError
from cluster.layout import NODE, REPOSITORY, Layout, Link, cache_folder
from cluster.leftovers import leftovers
from cluster.locks import locked
from cluster.process import NodeProcess, only_child
from cluster.run import output, phase, say, succeeds, wait_until

START_TIMEOUT_S: Final = 30.0
READY_TIMEOUT_S: Final = 180.0
REPAIR_TIMEOUT_S: Final = 30.0
LOG_TAIL_LINES: Final = 10
LOG_LINE_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Programs:
    """The folders that hack/kube-tools filled."""

    api: Path
    node: Path


def up(layout: Layout, *, with_images: bool = True) -> None:
    """Return with a cluster that is ready, whether there was one, half of one or none."""
    machine.check(cache_folder())
    machine.install_packages()
    programs = Programs(api=_tools("api"), node=_tools("node"))
    buildah = Buildah(cache_folder() / "buildah")
    buildah.ensure_storage()
    with locked(layout.lock_file, layout.name):
        node = _ready_node(layout, programs) or _make(layout, programs, buildah)
        if with_images:
            images.load(images.own_images(buildah), buildah, layout, node)


def _ready_node(layout: Layout, programs: Programs) -> NodeProcess | None:
    node = _running(layout)
    if node is None:
        return None
    try:
        # What has ended is started again by the node itself, and needs a moment.
        wait_until(
            lambda: _is_ready(layout, node, programs),
            what=f"{layout.name}, ready again",
            timeout_s=REPAIR_TIMEOUT_S,
            why_not=lambda: "",
        )
    except ClusterError as error:
        say(f"{error}making it anew")
        return None
    return node


def _make(layout: Layout, programs: Programs, buildah: Buildah) -> NodeProcess:
    _remove(layout)
    node = _start(layout, programs)
    images.load(images.node_images(buildah, programs.node), buildah, layout, node)
    _make_ready(layout, node, programs)
    return node


def add_image(
    layout: Layout,
    name: str,
    *,
    dockerfile: Path,
    context: Path = REPOSITORY,
    target: str | None = None,
) -> None:
    """Build an image and put it into a cluster that runs."""
    buildah = Buildah(cache_folder() / "buildah")
    with locked(layout.lock_file, layout.name):
        node = running_node(layout)
        image = images.extra_image(
            buildah, name, dockerfile=dockerfile, context=context, target=target
        )
        images.load([image], buildah, layout, node)


def add_previous(layout: Layout) -> Path:
    """Put the images of the version before into a cluster that runs; where its sources are."""
    buildah = Buildah(cache_folder() / "buildah")
    with locked(layout.lock_file, layout.name):
        node = running_node(layout)
        sources = layout.folder / "previous"
        commit = previous.unpack(sources)
        images.load(previous.previous_images(buildah, sources, commit), buildah, layout, node)
    return sources


def down(layout: Layout) -> None:
    with locked(layout.lock_file, layout.name):
        try:
            link = layout.link()
        except (FileNotFoundError, ValueError):
            link = None
        _remove(layout)
        left = leftovers(layout, link)
    if left:
        raise ClusterError(f"{layout.name} is ended, but not gone:\n" + "\n".join(left))


def find_programs() -> Programs:
    """As `up` has left them: nothing is built."""
    return Programs(api=_tools("api", "--cached"), node=_tools("node", "--cached"))


def running_node(layout: Layout) -> NodeProcess:
    node = _running(layout)
    if node is None:
        raise ClusterError(
            f"no cluster {layout.name} runs here: hack/cluster-up --name {layout.name}"
        )
    return node


def _running(layout: Layout) -> NodeProcess | None:
    node = NodeProcess.recorded_in(layout.pid_file)
    return node if node is not None and node.is_running else None


def _tools(group: str, *options: str) -> Path:
    # Its own words go past us: a build takes minutes.
    command = [sys.executable, str(REPOSITORY / "hack" / "kube-tools"), *options, group]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"hack/kube-tools {group} failed")
    return Path(done.stdout.strip())


def _start(layout: Layout, programs: Programs) -> NodeProcess:
    for folder in (layout.folder, layout.logs, layout.mounts):
        folder.mkdir(mode=0o700)
    cgroups.make(layout)
    with phase("node, started"), (layout.logs / "node.log").open("wb") as log:
        namespaces = [
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        main = [sys.executable, "-m", "cluster.node", layout.name]
        child = subprocess.Popen(
            ["unshare", *namespaces, *main, layout.folder, programs.api, programs.node],
            env={"PATH": machine.SEARCHED, "PYTHONPATH": str(REPOSITORY / "hack"), "HOME": "/"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Until it reads a line it does nothing, and it ends when we do before we are done here.
        node = _process_one(layout, child)
        node.record(layout.pid_file)
        link = _make_link(node)
        layout.link_file.write_text(f"{link.number}\n")
        write_credentials(layout, link)
        write_config(layout)
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.close()
    return node


def _process_one(layout: Layout, unshare: subprocess.Popen[bytes]) -> NodeProcess:
    found: list[int] = []

    def is_there() -> bool:
        if unshare.poll() is not None:
            raise ClusterError(f"unshare ended:\n{_log_tail(layout, 'node')}")
        found.extend(filter(None, [only_child(unshare.pid)]))
        return bool(found)

    wait_until(
        is_there,
        what="process 1 of the node",
        timeout_s=START_TIMEOUT_S,
        why_not=lambda: _log_tail(layout, "node"),
    )
    return NodeProcess.of(found[0])


def _make_link(node: NodeProcess) -> Link:
    """The first one that no other cluster has: whoever makes the device, has it."""
    for number in range(256):
        link = Link(number)
        pair = ["type", "veth", "peer", "name", "eth0", "netns", str(node.pid)]
        if not succeeds(["ip", "link", "add", link.host_device, *pair]):
            continue
        output(["ip", "address", "add", f"{link.host_ip}/30", "dev", link.host_device])
        output(["ip", "link", "set", link.host_device, "up"])
        return link
    raise ClusterError("no veth pair could be made: are there 256 clusters here?")


def _kubectl(layout: Layout, node: NodeProcess, programs: Programs) -> list[str]:
    kubectl = [str(programs.api / "kubectl"), f"--kubeconfig={layout.kubeconfig}"]
    # From inside: whatever packet filter the machine has, it is not asked.
    return [*node.inside("net"), *kubectl, f"--cache-dir={layout.folder / 'kubectl'}"]


def _is_ready(layout: Layout, node: NodeProcess, programs: Programs) -> bool:
    kubectl = _kubectl(layout, node, programs)
    return succeeds(
        [*kubectl, "wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=5s"]
    ) and succeeds(
        [*kubectl, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=5s"]
    )


def _make_ready(layout: Layout, node: NodeProcess, programs: Programs) -> None:
    kubectl = _kubectl(layout, node, programs)

    def waiting(name: str, *command: str) -> None:
        with phase(name):
            wait_until(
                lambda: node.is_running and succeeds([*kubectl, *command]),
                what=name,
                timeout_s=READY_TIMEOUT_S,
                why_not=lambda: _logs_tail(layout),
            )

    waiting("API server, ready", "get", "--raw", "/readyz")
    output([*kubectl, "apply", "--server-side", "-f", "-"], text=addons.manifests())
    waiting("node, ready", "wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=1s")
    rollout = ("rollout", "status", "deployment/coredns", "--timeout=5s")
    waiting("DNS, ready", "-n", "kube-system", *rollout)


def _logs_tail(layout: Layout) -> str:
    names = sorted(path.stem for path in layout.logs.glob("*.log"))
    return "\n".join(f"--- {name}\n{_log_tail(layout, name)}" for name in names)


def _log_tail(layout: Layout, name: str) -> str:
    lines = (layout.logs / f"{name}.log").read_text(errors="replace").splitlines()
    return "\n".join(line[:LOG_LINE_CHARACTERS] for line in lines[-LOG_TAIL_LINES:])


def _remove(layout: Layout) -> None:
    node = _running(layout)
    if node is not None:
        # While the node runs it is certainly its own; else the kernel has it on its list.
        with suppress(FileNotFoundError, ValueError):
            succeeds(["ip", "link", "delete", layout.link().host_device])
        node.stop()
    cgroups.remove(layout)
    if layout.folder.exists():
        shutil.rmtree(layout.folder)
