"""The sidecar as a program: how it is started and what it is given. It is never imported."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from runestone_operator.cli.failure import CommandError

_MODULE: Final = "runestone_sidecar"
# No business of a child's: the sidecar takes keys from its files alone.
_WITHHELD: Final = ("RUNESTONE_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")


def sidecar_command(*arguments: str) -> list[str]:
    """Raises CommandError where it is not installed."""
    if importlib.util.find_spec(_MODULE) is None:
        raise CommandError(
            "the sidecar is not installed beside this command: pip install 'runestone[standalone]'"
        )
    return [sys.executable, "-m", _MODULE, *arguments]


def environment_without_keys() -> dict[str, str]:
    """Ours, without the keys in it."""
    return {name: value for name, value in os.environ.items() if name not in _WITHHELD}


def sidecar_environment(folder: Path, **settings: str) -> dict[str, str]:
    """`folder` holds config and credentials."""
    return {
        **environment_without_keys(),
        "RUNESTONE_CONFIG_DIR": str(folder / "config"),
        "RUNESTONE_CREDENTIALS_DIR": str(folder / "credentials"),
        **settings,
    }
