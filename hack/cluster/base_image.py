"""A stand-in for docker.io/library/python:3.13-slim: Debian 13, which has that Python.

What else the official image has, no Dockerfile here uses. It is fetched from the mirror that apt
asks, where that is one of Debian.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.errors import ClusterError, MachineError
from cluster.run import output, phase

if TYPE_CHECKING:
    from cluster.buildah import Buildah

NAME: Final = "docker.io/library/python:3.13-slim"
SUITE: Final = "trixie"
PACKAGES: Final = "ca-certificates,python3,python3-pip,python3-venv"
LEFT_OUT: Final = (
    *("dev", "proc", "sys", "run", "tmp"),
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log"),
)
DOCKERFILE: Final = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""


def ensure_base_image(buildah: Buildah) -> None:
    """Made once for a cache; its tar stays, so that a spoiled image storage can be thrown away."""
    if buildah.image_id(NAME) is not None:
        return
    context = buildah.folder / "base"
    archive = context / "base.tar"
    if not archive.exists():
        context.mkdir(exist_ok=True)
        with phase(f"base image, Debian's {SUITE}"):
            _make_archive(archive)
    with phase("base image, into the image storage"):
        buildah.build(NAME, dockerfile=DOCKERFILE, context=context)


def _make_archive(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as name:
        root = Path(name) / "root"
        # In a mount namespace: debootstrap mounts a /proc, and may be killed before it unmounts it.
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)]
        try:
            output(["unshare", "--mount", *bootstrap, *_mirror()])
        except ClusterError as error:
            raise MachineError([f"no Debian {SUITE} to be had: {error}"]) from error
        for program in ("python", "python3"):  # where the official image has them
            (root / "usr/local/bin" / program).symlink_to("/usr/bin/python3")
        excluded = [f"--exclude=./{folder}/*" for folder in LEFT_OUT]
        made = archive.with_suffix(f".{os.getpid()}.tmp")
        output(["tar", "-C", root, *excluded, "-cf", made, "."])
        made.rename(archive)


def _mirror() -> list[str]:
    """The one that apt asks for Debian itself; none where this is another distribution."""
    listed = output(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(LABEL) $(REPO_URI)",
            "Created-By: Packages",
        ]
    )
    mirrors = [line.split()[2] for line in listed.splitlines() if line.startswith("Debian Debian ")]
    return mirrors[:1]
