"""`runestone compile`: a folder that a sidecar can be started on, and live reloads of it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from runestone_contract.bundle import decode
from runestone_contract.names import OVERFLOW_KEY_ENTRY
from runestone_operator.cli.main import main
from runestone_operator.cli.mount import BundleDir
from runestone_testing.shop import CLIENT_KEY, PROVIDER_KEY, Shop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def compile_into(out: Path, shop: Shop, *arguments: str) -> int:
    return main(["compile", "-f", str(shop), "-o", str(out), *arguments])


def test_the_folders_hold_what_a_pod_would_have_mounted(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_into(out, shop) == 0

    config = decode(BundleDir(out).config.read() or {})
    assert [pool.id for pool in config.pools] == ["default/pool"]
    (entry,) = config.pools[0].providers[0].credentials
    credentials = dict(BundleDir(out).credentials.read() or {})
    assert len(base64.b64decode(credentials.pop(OVERFLOW_KEY_ENTRY))) == 32
    assert credentials == {entry: PROVIDER_KEY.encode()}
    said = capsys.readouterr().out
    assert f"RUNESTONE_CONFIG_DIR={out}/config" in said
    assert "1 pool, 1 key, 1 credential" in said


def test_no_key_is_in_the_configuration_or_printed(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_into(out, shop)

    files = BundleDir(out).config.read() or {}
    told = capsys.readouterr()
    for text in (*(file.decode() for file in files.values()), told.out, told.err):
        assert CLIENT_KEY not in text
        assert PROVIDER_KEY not in text


def test_compiling_the_same_again_touches_nothing(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_into(out, shop)
    before = [(out / name / "..data").readlink() for name in ("config", "credentials")]

    assert compile_into(out, shop) == 0

    assert [(out / name / "..data").readlink() for name in ("config", "credentials")] == before
    assert capsys.readouterr().out.splitlines()[-1] == "Unchanged: nothing written."


def test_with_errors_nothing_is_written(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compile_into(out, shop)
    before = (out / "config" / "..data").readlink()
    shop.edit("policy.yaml", "- pool: pool", "- pool: pol")

    assert compile_into(out, shop) == 1

    assert (out / "config" / "..data").readlink() == before
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "nothing written: 1 error"
    assert "policy.yaml:11: RoutingPolicy/default: spec.rules[0].targets[0].pool:" in told[-2]


def test_a_generated_key_is_kept_and_its_place_told(
    shop: Shop, out: Path, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("key.yaml", "  secretRef: {name: keys, key: client}\n", "")

    compile_into(out, shop)
    first = json.loads((out / "config" / "index.json").read_text())["digest"]
    file = state_home / "keys" / "default" / "app"
    assert f"The key of ApiKey app is in {file}" in capsys.readouterr().out
    assert file.read_text().startswith("sk-rs-")

    compile_into(out, shop)
    assert json.loads((out / "config" / "index.json").read_text())["digest"] == first


def test_which_namespace_must_be_clear(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.edit("pool.yaml", "name: pool}", "name: pool, namespace: a}")
    shop.edit("policy.yaml", "name: default}", "name: default, namespace: b}")

    assert compile_into(out, shop) == 2
    assert "2 namespaces (a, b): choose one with --namespace" in capsys.readouterr().err
    assert compile_into(out, shop, "-n", "a") == 0


def test_a_place_that_cannot_be_written_is_named(
    shop: Shop, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.write_text("")

    assert compile_into(out, shop) == 1
    assert f"runestone: {out} cannot be written:" in capsys.readouterr().err
