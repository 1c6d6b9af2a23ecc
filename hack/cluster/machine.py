"""Whether this machine can run a node, and the Debian packages that it takes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster import cgroups
from cluster.errors import ClusterError, MachineError
from cluster.run import output, say, succeeds

if TYPE_CHECKING:
    from collections.abc import Iterator

SEARCHED: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package by what it is wanted for: a program, or a file."""

    name: str
    gives: str

    @property
    def is_there(self) -> bool:
        if self.gives.startswith("/"):
            return Path(self.gives).exists()
        return shutil.which(self.gives, path=SEARCHED) is not None


PACKAGES: Final = (
    Package("buildah", "buildah"),
    Package("conntrack", "conntrack"),
    Package("containerd", "containerd"),
    Package("containernetworking-plugins", "/usr/lib/cni/ptp"),
    Package("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    Package("debootstrap", "debootstrap"),
    Package("ethtool", "ethtool"),
    Package("iproute2", "ip"),
    Package("ipset", "ipset"),
    Package("iptables", "iptables"),
    Package("mount", "mount"),
    Package("nftables", "nft"),
    Package("runc", "runc"),
    Package("socat", "socat"),
    Package("util-linux", "nsenter"),
)


def check(folder: Path) -> None:
    """Raise MachineError where no node can run; `folder` is where its files will be."""
    reasons = list(_reasons(folder))
    if reasons:
        raise MachineError(reasons)


def _reasons(folder: Path) -> Iterator[str]:
    """By trying: what a container may do is not to be read off any file."""
    if sys.platform != "linux":
        yield "this is not Linux"
        return
    if os.geteuid() != 0:
        yield "it takes root"
        return
    lacking = [package.name for package in PACKAGES if not package.is_there]
    if lacking and shutil.which("apt-get") is None:
        yield f"no {', '.join(lacking)} here, and no apt-get to install them with"
    try:
        namespaces = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--mount-proc"]
        output([*namespaces, "true"])
    except (ClusterError, OSError) as error:
        yield f"no namespaces of its own: {error}"
        return
    add_link = ["unshare", "--net", "ip", "link", "add", "a0", "type", "veth"]
    if "iproute2" not in lacking and not succeeds(add_link):
        yield "no veth devices"
    if not _overlay_works(folder):
        yield f"no overlay file system on {folder}"
    yield from cgroups.reasons_against()


def _overlay_works(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".overlay-") as name:
        layers = [Path(name) / part for part in ("lower", "upper", "work", "merged")]
        for layer in layers:
            layer.mkdir()
        lower, upper, work, merged = layers
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount = ["mount", "-t", "overlay", "-o", options, "overlay", str(merged)]
        return succeeds(["unshare", "--mount", *mount])


def install_packages() -> None:
    """As apt is configured here; what is there already stays as it is. Raises MachineError."""
    lacking = [package.name for package in PACKAGES if not package.is_there]
    if not lacking:
        return
    say(f"installing Debian's {' '.join(lacking)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *lacking]
    try:
        try:
            output(install, env=env)
        except ClusterError:  # most often: the lists are old, or there are none yet
            output(["apt-get", "update", "-qq"], env=env)
            output(install, env=env)
    except ClusterError as error:
        raise MachineError(
            [f"Debian's {' '.join(lacking)} cannot be installed: {error}"]
        ) from error
    still = [package.name for package in PACKAGES if not package.is_there]
    if still:
        raise ClusterError(
            f"apt-get installed {', '.join(still)}, and yet they are not to be found"
        )
