"""What each package needs to be importable, tried in a process where everything else is blocked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Fails any import of the banned packages, imports every module of `package`, and says what came in.
PROGRAM = """
import importlib, json, pkgutil, sys

package, banned = sys.argv[1], set(sys.argv[2:])

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in banned:
            raise ModuleNotFoundError(f"{name} is not in this image", name=name)

sys.meta_path.insert(0, Block())
root = importlib.import_module(package)
for module in pkgutil.walk_packages(root.__path__, f"{package}."):
    importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported_by(package: str, *, banned: list[str]) -> set[str]:
    folders = [str(ROOT / "sidecar"), str(ROOT / "operator")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, package, *banned],
        env={"PYTHONPATH": ":".join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("package", "banned"),
    [
        pytest.param(
            "runestone_sidecar",
            ["runestone_operator", "kopf", "kubernetes", "aiohttp", "yaml", "httpx", "requests"],
            id="sidecar",
        ),
        pytest.param(
            "runestone_contract",
            ["runestone_sidecar", "runestone_operator", "starlette", "uvicorn", "orjson", "kopf"],
            id="contract",
        ),
        pytest.param(
            "runestone_operator",
            ["runestone_sidecar", "starlette", "uvicorn", "uvloop", "httptools"],
            id="operator",
        ),
    ],
)
def test_package_imports_without(package: str, banned: list[str]) -> None:
    assert not imported_by(package, banned=banned) & set(banned)


def test_a_sidecar_by_itself_pays_for_no_nats_client() -> None:
    program = """
import sys
from runestone_sidecar.app import build
from runestone_sidecar.settings import read_settings
build(read_settings({"NATS_URL": sys.argv[1]}))
print("nats" in sys.modules)
"""
    for url, imported in (("", "False"), ("nats://127.0.0.1:4222", "True")):
        done = subprocess.run(
            [sys.executable, "-c", program, url],
            env={"PYTHONPATH": str(ROOT / "sidecar")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [imported]
