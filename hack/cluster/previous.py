"""The version before this one, as a cluster is to run it before it is upgraded.

Its commit is recorded in hack/previous. The images are built from its own sources by its own
Dockerfiles, with a tag of their own, so that both versions can be in one cluster; its chart asks
for that tag.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from cluster import base_image, images
from cluster.errors import ClusterError
from cluster.layout import REPOSITORY
from cluster.locks import locked
from cluster.run import phase

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.buildah import Buildah

RECORD: Final = REPOSITORY / "hack" / "previous"
GIT: Final = ("git", "-c", "safe.directory=*", "-C", str(REPOSITORY))  # whoever owns the clone
APP_VERSION: Final = re.compile(r"^(appVersion: *)(.*)$", re.M)


def recorded_commit() -> str:
    lines = RECORD.read_text().split("\n")
    (commit,) = (line for line in lines if line and not line.startswith("#"))
    return commit


def unpack(folder: Path) -> str:
    """Its sources into `folder`, with a chart that asks for its images; its commit."""
    commit = recorded_commit()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run([*GIT, "archive", commit], capture_output=True, check=False)
    if archive.returncode != 0:
        raise ClusterError(
            f"the previous version, commit {commit} of hack/previous, is not to be had from this"
            " checkout: upgrades cannot be tried without it. Where the clone is a shallow one:"
            f" git fetch --unshallow\n{archive.stderr.decode(errors='replace')}"
        )
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    chart = folder / "charts" / "runestone" / "Chart.yaml"
    chart.write_text(APP_VERSION.sub(rf"\g<1>{tag_of(commit)}", chart.read_text()))
    return commit


def tag_of(commit: str) -> str:
    return f"previous-{commit[:12]}"


def previous_images(buildah: Buildah, sources: Path, commit: str) -> list[images.Image]:
    """Built once for a commit."""
    tag = tag_of(commit)
    stored = {name: f"localhost/{name}:{tag}" for name in images.OWN}
    with locked(buildah.folder / ".lock", "images"):
        base_image.ensure_base_image(buildah)
        if any(buildah.image_id(one) is None for one in stored.values()):
            with phase(f"images of the previous version, {commit[:12]}, built"):
                buildah.build_own(tag, repository=sources)
        images.forget_old_builds(buildah, tag)
    return [images.Image(one, f"docker.io/library/{name}:{tag}") for name, one in stored.items()]
