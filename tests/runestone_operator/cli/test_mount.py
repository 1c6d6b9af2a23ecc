"""Written like kubelet mounts: readers see one generation or the next, and nothing in between."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.mount import BundleDir, Mount

if TYPE_CHECKING:
    from pathlib import Path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def generations(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()]


def test_files_are_links_through_the_data_link(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "config")
    mount.write({"index.json": b"{}", "shard-0.jsonl": b"1\n"})

    (generation,) = generations(mount.path)
    assert (mount.path / "..data").readlink() == generation.relative_to(mount.path)
    assert str((mount.path / "index.json").readlink()) == "..data/index.json"
    assert (mount.path / "shard-0.jsonl").read_bytes() == b"1\n"


def test_a_change_is_a_new_generation_and_the_old_one_goes(tmp_path: Path) -> None:
    mount = Mount(tmp_path)
    mount.write({"a": b"1", "b": b"1"})
    before = generations(tmp_path)

    assert mount.write({"a": b"2", "c": b"2"})

    (after,) = generations(tmp_path)
    assert after not in before
    assert mount.read() == {"a": b"2", "c": b"2"}
    assert {path.name for path in tmp_path.iterdir()} == {after.name, "..data", "a", "c"}


def test_equal_bytes_are_not_written_again(tmp_path: Path) -> None:
    mount = Mount(tmp_path)
    mount.write({"a": b"1"})
    before = (tmp_path / "..data").readlink()

    assert not mount.write({"a": b"1"})

    assert (tmp_path / "..data").readlink() == before


def test_what_a_killed_process_left_is_cleared_up(tmp_path: Path) -> None:
    mount = Mount(tmp_path)
    mount.write({"a": b"1"})
    (tmp_path / "..2027_01_01_half_written").mkdir()
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    (tmp_path / "a").unlink()

    assert mount.write({"a": b"1"})

    assert {path.name for path in tmp_path.iterdir()} == {
        "..data",
        "a",
        *(path.name for path in generations(tmp_path)),
    }
    assert len(generations(tmp_path)) == 1


def test_credentials_are_the_owners_alone(tmp_path: Path) -> None:
    BundleDir(tmp_path).write({"index.json": b"{}"}, {"cred": b"sk-x"}, settle=lambda: None)

    assert mode_of(tmp_path / "credentials") == 0o700
    assert mode_of(tmp_path / "credentials" / "cred") == 0o600


def test_a_reader_never_sees_half_of_a_change(tmp_path: Path) -> None:
    """Readers go through `..data` read once, as the sidecar does."""
    mount = Mount(tmp_path)
    mount.write({"a": b"0", "b": b"0"})
    done, seen = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            folder = tmp_path / (tmp_path / "..data").readlink()  # is there at every moment
            try:
                found = {(folder / name).read_bytes() for name in ("a", "b")}
            except FileNotFoundError:  # swapped and removed meanwhile: the sidecar reads again
                continue
            assert len(found) == 1
            seen.update(found)

    with ThreadPoolExecutor(1) as thread:
        reader = thread.submit(read)
        number = 0
        while len(seen) < 20 and not reader.done():
            number += 1
            mount.write({"a": b"%d" % number, "b": b"%d" % number})
        done.set()
        reader.result()


@pytest.mark.parametrize(
    ("credentials", "while_settling"),
    [
        pytest.param({"new": b"2"}, {"old": b"1", "new": b"2"}, id="one replaced"),
        pytest.param({}, {"old": b"1"}, id="one removed"),
        pytest.param({"old": b"1", "new": b"2"}, None, id="one added: nothing to wait for"),
    ],
)
def test_a_credential_outlives_the_configuration_that_names_it(
    tmp_path: Path, credentials: dict[str, bytes], while_settling: dict[str, bytes] | None
) -> None:
    folder = BundleDir(tmp_path)
    folder.write({"index.json": b"1"}, {"old": b"1"}, settle=lambda: None)
    settling: list[object] = []

    def settle() -> None:
        assert folder.config.read() == {"index.json": b"2"}
        settling.append(folder.credentials.read())

    assert folder.write({"index.json": b"2"}, credentials, settle)

    assert settling == ([] if while_settling is None else [while_settling])
    assert folder.credentials.read() == credentials
