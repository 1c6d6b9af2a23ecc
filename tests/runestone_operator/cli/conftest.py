"""A shop's files, and a home for what commands keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.shop import Shop, make_shop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path / "shop")


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a command keeps, it keeps with the test; and nobody's own keys take part."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "RUNESTONE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "runestone"
