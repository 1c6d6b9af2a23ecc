"""What of a cluster is still on the machine. After its end that must be nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.cgroups import hierarchies
from cluster.run import succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.layout import Layout, Link


def leftovers(layout: Layout, link: Link | None) -> list[str]:
    """Asked of the kernel, a line each; `link` is the one that the cluster had."""
    found = list(_processes(layout))
    found += [
        str(root / layout.cgroup) for root in hierarchies() if (root / layout.cgroup).exists()
    ]
    if link is not None and succeeds(["ip", "link", "show", "dev", link.host_device]):
        found.append(f"network device {link.host_device}")
    if layout.folder.exists():
        found.append(str(layout.folder))
    return found


def _processes(layout: Layout) -> Iterator[str]:
    """Those in its control groups or with its folder on the command line, and all that see a mount
    of it: in whatever namespace a mount is held, by a process it is."""
    folder = f"{layout.folder}/"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if f"/{layout.cgroup}/" in (process / "cgroup").read_text():
                yield f"process {process.name} in the cluster's control groups"
            if folder.encode() in (process / "cmdline").read_bytes():
                yield f"process {process.name} on {folder}"
            if folder in (process / "mountinfo").read_text():
                yield f"process {process.name} sees a mount below {folder}"
