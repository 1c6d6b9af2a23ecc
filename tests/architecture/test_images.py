"""What each image is made of: wheels built from the very files that its Dockerfile copies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]


def copied(dockerfile: str) -> list[tuple[str, str]]:
    """(source, target) of each COPY from the build context; those between stages are left out."""
    pairs: list[tuple[str, str]] = []
    for line in (ROOT / dockerfile).read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            pairs += [(source, words[-1]) for source in words[1:-1]]
    return pairs


def build_wheel(dockerfile: str, folder: Path) -> zipfile.ZipFile:
    context = folder / "context"
    for source, target in copied(dockerfile):
        here = ROOT / source
        if here.is_dir():  # COPY of a folder copies what is in it
            shutil.copytree(here, context / target, dirs_exist_ok=True)
        else:
            there = context / target / here.name if target.endswith("/") else context / target
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=context,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.parametrize(
    ("dockerfile", "packages"),
    [
        pytest.param(
            "Dockerfile.sidecar", {"runestone_contract", "runestone_sidecar"}, id="sidecar"
        ),
        pytest.param(
            "Dockerfile.operator", {"runestone_contract", "runestone_operator"}, id="operator"
        ),
    ],
)
def test_wheel_holds_its_packages_whole_and_no_other(
    dockerfile: str, packages: set[str], tmp_path: Path
) -> None:
    with build_wheel(dockerfile, tmp_path) as wheel:
        names = {PurePosixPath(name) for name in wheel.namelist()}
    ours = {name for name in names if ".dist-info" not in name.parts[0]}
    assert {name.parts[0] for name in ours} == packages
    in_tree = {
        PurePosixPath(path.relative_to(ROOT / side))
        for side in ("sidecar", "operator")
        for package in packages
        for path in (ROOT / side / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours == in_tree


@pytest.mark.parametrize(
    ("lock", "absent"),
    [
        pytest.param(
            "sidecar",
            {"aiohttp", "httpx", "kopf", "kubernetes", "pyyaml", "requests"},
            id="sidecar",
        ),
        pytest.param("operator", {"starlette", "uvicorn", "uvloop", "httptools"}, id="operator"),
    ],
)
def test_image_installs_nothing_of_the_other_side(lock: str, absent: set[str]) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", text, re.M))
    assert pinned
    assert not pinned & absent


@pytest.mark.parametrize("program", ["sidecar", "operator"])
def test_image_runs_its_program_as_nobody(program: str) -> None:
    lines = (ROOT / f"Dockerfile.{program}").read_text().splitlines()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert f"runestone-{program}" in scripts
    assert lines[-1] == f'ENTRYPOINT ["runestone-{program}"]'
    assert [line for line in lines if line.startswith("USER ")] == ["USER 65532:65532"]
