"""Writes files the way kubelet mounts them: all of them change at once, or none.

DIR/index.json -> ..data/index.json        what readers open
DIR/..data -> ..2027_01_31_10_00_00.12345  swapped by one rename
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runestone_contract.names import DATA_LINK

_DRAFT_LINK: Final = "..data_tmp"
_PRIVATE_DIR: Final = 0o700

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Mount:
    """One volume. Its files are the owner's alone where they are secret."""

    path: Path
    is_secret: bool = False

    def write(self, files: Files) -> bool:
        """Whether anything had to change. Raises OSError."""
        if self.read() == files:
            return False
        self.path.mkdir(mode=_PRIVATE_DIR if self.is_secret else 0o755, parents=True, exist_ok=True)
        made = self._write_generation(files)
        draft = self.path / _DRAFT_LINK
        draft.unlink(missing_ok=True)
        draft.symlink_to(made.name)
        draft.rename(self.path / DATA_LINK)
        self._link(files)
        self._remove_others(made)
        return True

    def read(self) -> Files | None:
        """What the mount holds; None where that is not a whole generation."""
        generation = self._generation()
        if generation is None:
            return None
        try:
            files = {path.name: path.read_bytes() for path in generation.iterdir()}
        except OSError:
            return None
        return files if all((self.path / name).exists() for name in files) else None

    def _generation(self) -> Path | None:
        link = self.path / DATA_LINK
        return self.path / os.readlink(link) if link.is_symlink() else None

    def _write_generation(self, files: Files) -> Path:
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
        folder = Path(tempfile.mkdtemp(prefix=stamp, dir=self.path))  # mode 0700
        if not self.is_secret:
            folder.chmod(0o755)
        for name, content in files.items():
            mode = 0o600 if self.is_secret else 0o644
            with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT, mode), "wb") as opened:
                opened.write(content)
        return folder

    def _remove_others(self, current: Path) -> None:
        """The generation before, and what a process left that was killed while it wrote."""
        for entry in list(self.path.iterdir()):
            if entry.name.startswith("..") and not entry.is_symlink() and entry != current:
                shutil.rmtree(entry, ignore_errors=True)

    def _link(self, files: Files) -> None:
        """A link of its own for each file, and none for files that are gone."""
        for entry in list(self.path.iterdir()):
            if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in files:
                entry.unlink()
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).unlink(missing_ok=True)
                (self.path / name).symlink_to(f"{DATA_LINK}/{name}")


@dataclass(frozen=True, slots=True)
class BundleDir:
    """DIR/config and DIR/credentials, as a pod has them."""

    path: Path

    @property
    def config(self) -> Mount:
        return Mount(self.path / "config")

    @property
    def credentials(self) -> Mount:
        return Mount(self.path / "credentials", is_secret=True)

    def write(self, config: Files, credentials: Files, settle: Callable[[], None]) -> bool:
        """Whether anything had to change. No reader meets a configuration without its credentials.

        Those that go out of use stay until `settle` has returned: by then, readers must have seen
        the new configuration.
        """
        before = self.credentials.read() or {}
        changed = self.credentials.write({**before, **credentials})
        changed |= self.config.write(config)
        if before.keys() - credentials.keys():
            settle()
            self.credentials.write(credentials)
            changed = True
        return changed
