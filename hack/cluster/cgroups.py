"""The control groups of a cluster, in every hierarchy that the machine has."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.machine import hierarchies
from cluster.run import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.layout import Layout

REMOVAL_TIMEOUT_S = 30.0


def make(layout: Layout) -> None:
    """kubelet wants the root of its own to be there."""
    for root in hierarchies():
        (root / layout.cgroup).mkdir(parents=True, exist_ok=True)


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
