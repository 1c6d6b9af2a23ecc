"""hack/kube-tools without building: what is cached, what is given, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_testing.kube import KUBE_TOOLS, find_programs

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = ("etcd", "kube-apiserver", "kubectl")


def kube_tools(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
    return subprocess.run(
        [sys.executable, KUBE_TOOLS, *args],
        env=env | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in DEFAULT:
        (folder / name).touch(mode=0o755)
    return folder


def test_given_assets_are_used(assets: Path) -> None:
    found = kube_tools(KUBEBUILDER_ASSETS=str(assets))

    assert (found.returncode, found.stdout) == (0, f"{assets}\n")


def test_given_assets_that_lack_a_program_are_refused(assets: Path) -> None:
    (assets / "etcd").unlink()

    refused = kube_tools(KUBEBUILDER_ASSETS=str(assets))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "lacks etcd" in refused.stderr


def test_what_given_assets_never_hold_comes_from_the_cache(assets: Path, tmp_path: Path) -> None:
    asked = kube_tools(
        "--cached", "kubelet", KUBEBUILDER_ASSETS=str(assets), XDG_CACHE_HOME=str(tmp_path)
    )

    assert asked.returncode == 3
    assert f"kubelet not in {tmp_path}" in asked.stderr


def test_an_empty_cache_is_named(tmp_path: Path) -> None:
    asked = kube_tools("--cached", XDG_CACHE_HOME=str(tmp_path))

    assert (asked.returncode, asked.stdout) == (3, "")
    assert "run hack/kube-tools" in asked.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_group_is_its_programs(tmp_path: Path) -> None:
    asked = kube_tools("--cached", "node", "etcd", XDG_CACHE_HOME=str(tmp_path))

    assert asked.returncode == 3
    assert "helm, coredns, pause, kubelet, kube-controller-manager, " in asked.stderr
    assert ", etcd not in" in asked.stderr


def test_an_unknown_program_is_refused() -> None:
    refused = kube_tools("minikube")

    assert refused.returncode == 2
    assert "unknown: minikube" in refused.stderr


@pytest.mark.kube
def test_a_program_made_from_other_pins_is_not_used(tmp_path: Path) -> None:
    built = find_programs()
    if "KUBEBUILDER_ASSETS" in os.environ:
        pytest.skip("the programs are given, not built")
    copy = tmp_path / "runestone" / "kube" / built.name
    copy.mkdir(parents=True)
    for name in DEFAULT:
        (copy / name).symlink_to(built / name)
        shutil.copy(built / f".{name}.recipe", copy)
    fresh = kube_tools("--cached", XDG_CACHE_HOME=str(tmp_path))
    (copy / ".etcd.recipe").write_text("another recipe")
    stale = kube_tools("--cached", XDG_CACHE_HOME=str(tmp_path))

    assert (fresh.returncode, fresh.stdout) == (0, f"{copy}\n")
    assert stale.returncode == 3
    assert "etcd not in" in stale.stderr
