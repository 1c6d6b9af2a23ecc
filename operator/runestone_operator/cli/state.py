"""What a person's command keeps between two calls: generated client keys, and each run's files.

Under $XDG_STATE_HOME/runestone, for the owner's eyes alone:
    keys/NAMESPACE/NAME      one generated client key
    overflow-keys/NAMESPACE  what the namespace's jobs are sealed with
    run/NAMESPACE-PORT/      what one `runestone run` works with, locked while it does
"""

import argparse
import base64
import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runestone_operator.cli.compiled import BASE62, KEY_LENGTH, KEY_PREFIX
from runestone_operator.cli.failure import CommandError

_KEY: Final = re.compile(rf"{KEY_PREFIX}[0-9A-Za-z]{{{KEY_LENGTH}}}")
_OVERFLOW_KEY: Final = re.compile(r"[0-9A-Za-z+/]{43}=")  # 32 bytes
OVERFLOW_KEY_BYTES: Final = 32
_PRIVATE_DIR: Final = 0o700
_PRIVATE_FILE: Final = 0o600


def default_state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """As the XDG base directory specification says: a relative path there counts as none."""
    home = Path(env.get("XDG_STATE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "runestone"


@dataclass(frozen=True, slots=True)
class StateDir:
    """Also the Keyring of commands that hand out keys. Methods raise CommandError."""

    path: Path

    def key(self, namespace: str, name: str) -> str:
        """The ApiKey's generated key: the same at every call."""
        file = self.key_file(namespace, name)
        key = _kept(file, _generated_key)
        if not _KEY.fullmatch(key):
            raise CommandError(f"{file} does not hold a generated key: remove it to get a new one")
        return key

    def key_file(self, namespace: str, name: str) -> Path:
        """Names come from valid resources: neither can leave the folder."""
        return self.path / "keys" / namespace / name

    def overflow_key(self, namespace: str) -> str:
        """The same at every call: what was queued in an earlier run can be read in the next."""
        file = self.path / "overflow-keys" / namespace
        key = _kept(file, _generated_overflow_key)
        if not _OVERFLOW_KEY.fullmatch(key):
            raise CommandError(f"{file} does not hold an overflow key: remove it to get a new one")
        return key

    @contextlib.contextmanager
    def instance(self, namespace: str, port: int, *, is_once: bool = False) -> Iterator[Path]:
        """The folder of one run, ours for the time of the block; `is_once`: then it goes."""
        folder = self.path / "run" / f"{namespace}-{port}"
        with _said_plainly(folder):
            _make_private(folder)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise CommandError(
                f"namespace {namespace} is served on port {port} already, by another runestone run:"
                " stop that one, or give this one another --port"
            ) from None
        try:
            yield folder
        finally:
            for name in ("config", "credentials"):  # provider keys do not stay behind
                shutil.rmtree(folder / name, ignore_errors=True)
            if is_once:
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@contextlib.contextmanager
def _said_plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"{path} cannot be used: {error.strerror} (--state-dir chooses another place)"
        ) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} does not hold text: remove it") from None


def _kept(file: Path, generate: Callable[[], str]) -> str:
    """What the file holds; written first where there is none."""
    with _said_plainly(file):
        if not file.exists():
            _create(file, generate() + "\n")
        return file.read_text("ascii").strip()


def _generated_overflow_key() -> str:
    return base64.b64encode(secrets.token_bytes(OVERFLOW_KEY_BYTES)).decode()


def _generated_key() -> str:
    return KEY_PREFIX + "".join(secrets.choice(BASE62) for _ in range(KEY_LENGTH))


def _make_private(folder: Path) -> None:
    """With every missing folder above it."""
    missing = [folder, *folder.parents]
    for path in reversed(missing[: next(i for i, p in enumerate(missing) if p.exists())]):
        path.mkdir(mode=_PRIVATE_DIR, exist_ok=True)


def _create(file: Path, text: str) -> None:
    """All of it or nothing; where another process was faster, its file stands."""
    _make_private(file.parent)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "w") as opened:
        opened.write(text)
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()


def add_state_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        default=default_state_dir(),
        help="where generated client keys are kept (default: %(default)s)",
    )
