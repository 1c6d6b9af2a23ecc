"""Container images without a daemon or a registry: buildah on a storage of its own.

Builds reach package registries the way this machine's pip does: its configuration and the
certificates that it names are mounted for the time of the build, and stay out of the image.
"""

from __future__ import annotations

import ast
import configparser
import io
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.layout import REPOSITORY
from cluster.machine import SEARCHED
from cluster.run import output

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Buildah:
    """The images that are kept below one folder."""

    folder: Path

    def ensure_storage(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._storage_file.write_text(
            "[storage]\n"
            'driver = "overlay"\n'
            f'graphroot = "{self.folder / "storage"}"\n'
            f'runroot = "{self.folder / "run"}"\n'
        )

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": SEARCHED,
            "CONTAINERS_STORAGE_CONF": str(self._storage_file),
            # A build wants no more than another root; runc would want more than some machines give.
            "BUILDAH_ISOLATION": "chroot",
        }

    @property
    def _storage_file(self) -> Path:
        return self.folder / "storage.conf"

    def build(
        self, name: str, *, dockerfile: str, context: Path, target: str | None = None
    ) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
            file.write(dockerfile)
            file.flush()
            options = [f"--file={file.name}", f"--tag={name}", f"--ignorefile={os.devnull}"]
            options += [f"--target={target}"] if target else []
            command = ["buildah", "bud", *build_options(self.folder), *options, str(context)]
            output(command, env=self.env)

    def build_own(self, tag: str, *, repository: Path = REPOSITORY) -> None:
        """Both images of this repository, or of another version's, as anyone builds them."""
        script = str(repository / "hack" / "build-images")
        output(
            [script, tag, "--", *build_options(self.folder)], env=self.env | {"BUILDER": "buildah"}
        )

    def image_id(self, name: str) -> str | None:
        """The digest of an image's configuration: another one when anything of it is another."""
        found = subprocess.run(
            ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", name],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.strip() if found.returncode == 0 else None

    def remove(self, names: Sequence[str]) -> None:
        """Best effort: an image that another run uses stays."""
        subprocess.run(["buildah", "rmi", *names], env=self.env, capture_output=True, check=False)

    def push(self, name: str, target: str) -> None:
        output(["buildah", "push", "--quiet", name, target], env=self.env)


def build_options(folder: Path) -> list[str]:
    """What a build needs on this machine beside the Dockerfile."""
    settings = pip_settings()
    file = folder / "pip.conf"
    config = configparser.RawConfigParser()
    config["global"] = settings
    text = io.StringIO()
    config.write(text)
    file.write_text(text.getvalue())
    mounts = {str(file): "/etc/pip.conf"}
    for setting in ("cert", "client-cert", "find-links"):
        path = settings.get(setting, "")
        if path.startswith("/") and Path(path).exists():
            mounts[path] = path
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    return ["--layers", "--pull-never", "--network=host", *volumes]


def pip_settings() -> dict[str, str]:
    """The machine's, with those from files first and those from the environment over them."""
    listed = output([sys.executable, "-m", "pip", "config", "list"])
    return parse_pip_settings(listed.splitlines())


def parse_pip_settings(lines: Sequence[str]) -> dict[str, str]:
    """Of `pip config list`: lines such as `global.timeout='60'` and `:env:.timeout='60'`."""
    settings: dict[str, str] = {}
    for wanted in ("global", "install", ":env:"):
        for line in lines:
            name, separator, value = line.partition("=")
            section, _, setting = name.rpartition(".")
            if separator and section == wanted:
                settings[setting] = str(ast.literal_eval(value))
    return settings
