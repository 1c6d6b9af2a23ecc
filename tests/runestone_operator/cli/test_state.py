"""Generated keys stay the same, private, and apart; a run has its folder to itself."""

from __future__ import annotations

import base64
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runestone_operator.cli.failure import CommandError
from runestone_operator.cli.state import StateDir, default_state_dir

AT_HOME = Path.home() / ".local/state/runestone"
KEY = re.compile("sk-rs-[0-9A-Za-z]{43}")


def test_a_generated_key_is_made_once(tmp_path: Path) -> None:
    key = StateDir(tmp_path / "state").key("shop", "app")

    assert KEY.fullmatch(key)
    assert StateDir(tmp_path / "state").key("shop", "app") == key
    others = {StateDir(tmp_path / "state").key(*owner) for owner in (("shop", "b"), ("b", "app"))}
    assert len({key, *others}) == 3


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.key("shop", "app")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (state.path, *state.path.rglob("*"))]
    assert modes == [0o700, 0o700, 0o700, 0o600]


def test_two_that_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    def ask(_: int) -> str:
        return StateDir(tmp_path).key("shop", "app")

    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(ask, range(64)))

    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "keys" / "shop").iterdir()] == ["app"]


def test_an_overflow_key_is_made_once_for_each_namespace(tmp_path: Path) -> None:
    def ask(_: int) -> str:
        return StateDir(tmp_path).overflow_key("shop")

    with ThreadPoolExecutor(16) as threads:
        (key,) = set(threads.map(ask, range(64)))
    assert len(base64.b64decode(key)) == 32
    assert StateDir(tmp_path).overflow_key("other") != key

    (tmp_path / "overflow-keys" / "shop").write_text("canary\n")
    with pytest.raises(CommandError, match=r"shop does not hold an overflow key") as refused:
        StateDir(tmp_path).overflow_key("shop")
    assert "canary" not in refused.value.message


def test_a_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.key("shop", "app")
    state.key_file("shop", "app").write_text("sk-canary\n")

    with pytest.raises(CommandError, match=r"shop/app does not hold a generated key") as refused:
        state.key("shop", "app")
    assert "canary" not in refused.value.message


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CommandError, match=r"--state-dir chooses another place"):
        StateDir(tmp_path / "file").key("shop", "app")


def test_a_run_has_its_folder_alone_and_leaves_no_credentials(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    with state.instance("shop", 4003) as folder:
        (folder / "credentials").mkdir()
        (folder / "nats").mkdir()
        with pytest.raises(CommandError, match="is served on port 4003 already"):
            state.instance("shop", 4003).__enter__()
        with state.instance("shop", 4005):
            pass

    assert not (folder / "credentials").exists()
    assert (folder / "nats").exists(), "JetStream's store outlives the run"
    with state.instance("shop", 4003):
        pass


def test_a_run_on_any_port_leaves_nothing(tmp_path: Path) -> None:
    with StateDir(tmp_path).instance("shop", 31_234, is_once=True) as folder:
        (folder / "nats").mkdir()

    assert not folder.exists()


@pytest.mark.parametrize(
    ("env", "path"),
    [
        pytest.param({"XDG_STATE_HOME": "/var/x"}, Path("/var/x/runestone"), id="given"),
        pytest.param({}, Path.home() / ".local/state/runestone", id="not given"),
        pytest.param(
            {"XDG_STATE_HOME": "x"}, Path.home() / ".local/state/runestone", id="relative"
        ),
    ],
)
def test_the_place_is_where_xdg_says(env: dict[str, str], path: Path) -> None:
    assert default_state_dir(env) == path
