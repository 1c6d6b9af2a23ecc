"""What is printed to be pasted: right, and without the key where the output may be kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.compiled import ClientKey
from runestone_operator.cli.load import load
from runestone_operator.cli.report import Place
from runestone_operator.cli.run.greeting import pasted_key, rotation_notes
from runestone_operator.cli.source.files import FileSource
from runestone_operator.cli.state import StateDir

if TYPE_CHECKING:
    from runestone_testing.shop import Shop

VALUE = "sk-rs-canary-0123456789"
FILE = Path("/var/state of mine/app")


def key(*, is_generated: bool, file: str = "shop/secrets.yaml") -> ClientKey:
    return ClientKey("app", VALUE, is_generated, Place(file, 4))


def test_on_a_terminal_the_key_is_shown() -> None:
    pasted = pasted_key(key(is_generated=True), file=FILE, in_full=True)

    assert (pasted.shell, pasted.python, pasted.shown) == (VALUE, f'"{VALUE}"', VALUE)


@pytest.mark.parametrize(
    ("client_key", "shell", "python", "where"),
    [
        pytest.param(
            key(is_generated=True),
            "$(cat '/var/state of mine/app')",
            'open("/var/state of mine/app").read().strip()',
            "in /var/state of mine/app",
            id="generated",
        ),
        pytest.param(
            key(is_generated=False),
            "$RUNESTONE_API_KEY",
            '__import__("os").environ["RUNESTONE_API_KEY"]',
            "from shop/secrets.yaml:4",
            id="brought in a file",
        ),
        pytest.param(
            key(is_generated=False, file="RUNESTONE_API_KEY"),
            "$RUNESTONE_API_KEY",
            '__import__("os").environ["RUNESTONE_API_KEY"]',
            "from the variable RUNESTONE_API_KEY",
            id="brought by the environment",
        ),
    ],
)
def test_elsewhere_it_is_masked_and_found(
    client_key: ClientKey, shell: str, python: str, where: str
) -> None:
    pasted = pasted_key(client_key, file=FILE, in_full=False)

    assert (pasted.shell, pasted.python) == (shell, python)
    assert pasted.shown.startswith("sk-rs-ca… ")
    assert where in pasted.shown
    assert "canary" not in f"{pasted}"


def test_what_does_not_rotate_here_is_said(shop: Shop, tmp_path: Path) -> None:
    def notes() -> list[str]:
        loaded = load(FileSource([str(shop)]), None, StateDir(tmp_path / "state"))
        return rotation_notes(loaded.world, loaded.build.namespace)

    assert notes() == []
    shop.edit("key.yaml", "secretRef: {name: keys, key: client}", "rotation: {interval: 720h}")
    assert notes() == ["Keys are rotated in a cluster alone; here these stay as they are: app."]
