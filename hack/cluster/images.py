"""The images of a cluster: built into one storage for all clusters, imported into each."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster import base_image
from cluster.addons import COREDNS_IMAGE
from cluster.components import PAUSE_IMAGE
from cluster.layout import CONTAINERD_SOCKET, REPOSITORY
from cluster.locks import locked
from cluster.run import output, phase

if TYPE_CHECKING:
    from cluster.buildah import Buildah
    from cluster.layout import Layout
    from cluster.process import NodeProcess

OWN: Final = ("runestone-sidecar", "runestone-operator")
SOURCES: Final = (
    "Dockerfile.*",
    "LICENSE",
    "pyproject.toml",
    "requirements/*",
    "*/runestone_*/**/*",
)
KEPT_BUILDS: Final = 8


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the storage, and the name that it has in a cluster."""

    stored: str
    name: str


def node_images(buildah: Buildah, programs: Path) -> list[Image]:
    """Those that a node cannot be without; each is one static program."""
    return [
        _program_image(buildah, programs / "pause", PAUSE_IMAGE),
        _program_image(buildah, programs / "coredns", COREDNS_IMAGE),
    ]


def _program_image(buildah: Buildah, program: Path, name: str) -> Image:
    with program.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    stored = f"localhost/{program.name}:{digest}"
    if buildah.image_id(stored) is None:
        lines = ("FROM scratch", f"COPY {program.name} /", f'ENTRYPOINT ["/{program.name}"]')
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(program, context)
            buildah.build(stored, dockerfile="\n".join(lines), context=Path(context))
    return Image(stored, name)


def own_images(buildah: Buildah) -> list[Image]:
    """Of this checkout as it is now, and the base image they stand on, for tests' own pods."""
    digest = sources_digest()
    names = [f"localhost/{name}:{digest}" for name in OWN]
    with locked(buildah.folder / ".lock", "images"):
        base_image.ensure_base_image(buildah)
        if any(buildah.image_id(name) is None for name in names):
            with phase("images of this checkout, built"):
                buildah.build_own(digest)
        forget_old_builds(buildah, digest)
    own = [
        Image(name, f"docker.io/library/{program}:{version()}")
        for program, name in zip(OWN, names, strict=True)
    ]
    return [Image(base_image.NAME, base_image.NAME), *own]


def extra_image(
    buildah: Buildah,
    name: str,
    *,
    dockerfile: Path,
    context: Path = REPOSITORY,
    target: str | None = None,
) -> Image:
    """Of a Dockerfile of this checkout that builds on the base image, for what tests have beside.

    Its context is whole, .dockerignore aside: that keeps tests out of Runestone's images.
    """
    with locked(buildah.folder / ".lock", "images"):
        base_image.ensure_base_image(buildah)
    checkout = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:12]
    stored = f"localhost/{name.replace(':', '-')}:{checkout}"
    with phase(f"{name}, built"):
        text = dockerfile.read_text()
        buildah.build(stored, dockerfile=text, context=context, target=target)
    return Image(stored, f"docker.io/library/{name}")


def version() -> str:
    """Of the checkout: the tag that its images have in a cluster."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def sources_digest() -> str:
    """Of all that an image is made from: other sources are another image of the storage."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(REPOSITORY.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(REPOSITORY)} {content}\n".encode())
    return digest.hexdigest()[:12]


def forget_old_builds(buildah: Buildah, newest: str) -> None:
    seen = buildah.folder / "builds"
    seen.mkdir(exist_ok=True)
    (seen / newest).touch()
    builds = sorted(seen.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in builds[KEPT_BUILDS:]:
        buildah.remove([f"localhost/{name}:{old.name}" for name in OWN])
        old.unlink()


def load(images: list[Image], buildah: Buildah, layout: Layout, node: NodeProcess) -> None:
    """Import those that the cluster does not have yet in just this version."""
    record = layout.folder / "images.json"
    loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    wanted = {image.name: buildah.image_id(image.stored) or "" for image in images}
    missing = [image for image in images if loaded.get(image.name) != wanted[image.name]]
    if not missing:
        return
    with phase(f"{len(missing)} images, imported"):
        for image in missing:
            _import(image, buildah, layout, node)
    written = record.with_suffix(".tmp")
    written.write_text(json.dumps(loaded | wanted, indent=1))
    written.replace(record)


def _import(image: Image, buildah: Buildah, layout: Layout, node: NodeProcess) -> None:
    # Docker's kind of archive: into OCI's, buildah puts no layer that it has not compressed.
    archive = layout.folder / "image.tar"
    archive.unlink(missing_ok=True)  # it would be added to
    buildah.push(image.stored, f"docker-archive:{archive}:{image.name}")
    ctr = ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
    output([*node.inside("mount"), *ctr, "images", "import", archive])
    archive.unlink()
