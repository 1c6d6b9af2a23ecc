"""Process 1 of the node's namespaces: mounts, addresses, and the programs that it keeps running.

`python -m cluster.node NAME FOLDER API_PROGRAMS NODE_PROGRAMS`, in new pid, mount, network and IPC
namespaces. When it ends, by whatever signal, the kernel ends every process of the node, and with
the last one unmounts all and takes the network down: so a killed or crashed cluster leaves nothing
behind but its folder and its empty control groups.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.components import components
from cluster.errors import ClusterError
from cluster.layout import SERVICES, Layout
from cluster.run import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.components import Component
    from cluster.layout import Link

RESTART_AFTER_S: Final = 1.0
# What kubelet would set, and these belong to the whole machine: it finds them set already.
SYSCTLS: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def main(arguments: Sequence[str]) -> None:
    name, folder, api, node = arguments
    layout = Layout(name, Path(folder))
    # One line when all is prepared; none where the one who prepares it has died.
    if not sys.stdin.readline():
        raise ClusterError("nobody prepared the network and the keys")
    link = layout.link()
    mount_own_folders(layout)
    set_up_network(link)
    keep_running(components(layout, link, api=Path(api), node=Path(node)), layout)


def mount_own_folders(layout: Layout) -> None:
    """The folders whose names are built into the programs, so that the machine's stay untouched."""
    output(["mount", "--make-rshared", "/"])  # within this namespace: kubelet's volumes need it
    for target in ("/run", "/var/lib"):
        output(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", target])
    for target in ("/var/lib/kubelet", "/var/log"):
        source = layout.mounts / target.removeprefix("/").replace("/", "-")
        source.mkdir(parents=True)
        Path(target).mkdir(exist_ok=True)
        output(["mount", "--bind", source, target])
    for name, value in SYSCTLS.items():
        if (real := Path("/proc/sys") / name).exists():
            shown = layout.mounts / name.replace("/", ".")
            shown.write_text(f"{value}\n")
            output(["mount", "--bind", shown, real])


def set_up_network(link: Link) -> None:
    ip = ["ip", "link", "set"]
    output([*ip, "lo", "up"])
    output(["ip", "address", "add", f"{link.node_ip}/30", "dev", "eth0"])
    output([*ip, "eth0", "up"])
    # No default route: what is neither a pod nor a Service cannot be reached, and says so at once.
    # A packet to a Service needs a route before it meets the filter that changes its address.
    output(["ip", "route", "add", SERVICES, "dev", "eth0"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def start(component: Component, layout: Layout) -> int:
    log = str(layout.logs / f"{component.name}.log")
    return os.posix_spawnp(
        component.argv[0],
        component.argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def keep_running(wanted: Sequence[Component], layout: Layout) -> None:
    """Start them all, for ever; what is adopted, shims and containers, is only waited for."""
    running = {start(component, layout): component for component in wanted}
    while True:
        pid, status = os.wait()
        ended = running.pop(pid, None)
        if ended is None:
            continue
        print(f"{ended.name} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)
        time.sleep(RESTART_AFTER_S)
        running[start(ended, layout)] = ended


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ClusterError as error:
        sys.exit(str(error))
