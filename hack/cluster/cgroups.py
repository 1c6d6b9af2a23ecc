"""Control groups: whether this machine has any to give, and those of a cluster.

Version 1 has a hierarchy a controller; version 2 has one, in which a group hands its controllers on
to those below it only when told to.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.run import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.layout import Layout

MOUNT: Final = Path("/sys/fs/cgroup")
WANTED: Final = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")  # by kubelet, where there
REMOVAL_TIMEOUT_S: Final = 30.0


def hierarchies() -> list[Path]:
    """Their roots."""
    if _is_version_2():
        return [MOUNT]
    return sorted(file.parent for file in MOUNT.glob("*/cgroup.procs"))


def _is_version_2() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def reasons_against() -> Iterator[str]:
    """Why no node can have groups of its own here, by trying."""
    if not hierarchies():
        yield f"no control groups in {MOUNT}"
    for root in hierarchies():
        probe = root / f"runestone-probe-{os.getpid()}"
        try:
            probe.mkdir()
            if _is_version_2():
                _hand_on(root)
                if "memory" not in (probe / "cgroup.controllers").read_text().split():
                    yield f"{root} hands no controllers on: it has processes of its own"
            probe.rmdir()
        except OSError as error:
            yield f"control groups cannot be made in {root}: {error.strerror}"


def make(layout: Layout) -> None:
    """kubelet wants the root of its own to be there, with controllers."""
    for root in hierarchies():
        (root / layout.cgroup).mkdir(parents=True, exist_ok=True)
        if _is_version_2():
            _hand_on(root)
            _hand_on((root / layout.cgroup).parent)


def _hand_on(group: Path) -> None:
    for controller in set(WANTED) & set((group / "cgroup.controllers").read_text().split()):
        with suppress(OSError):  # kubelet, or the one who asked, says what lacks
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(layout: Layout) -> None:
    """Once no process is left; the kernel may take a moment to let go of a group."""
    groups = [root / layout.cgroup for root in hierarchies()]

    def are_removed() -> bool:
        for group in groups:
            _remove(group)
        return not any(group.exists() for group in groups)

    wait_until(
        are_removed,
        what="the end of the control groups",
        timeout_s=REMOVAL_TIMEOUT_S,
        why_not=lambda: "\n".join(str(group) for group in groups if group.exists()),
    )


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    with suppress(OSError):
        group.parent.rmdir()  # as long as another cluster is in it, it stays
