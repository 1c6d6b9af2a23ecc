"""Planted secrets, and the search for them: no output of ours may hold one, at any log level.

A needle is the middle of its secret: a secret that is cut short or quoted is found as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runestone_testing import bundles

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "canary prompt: my diagnosis is Quixotic-Marmalade-4471"
ANSWER = "canary answer: the dose is Obsidian-Teapot-9083"
WEBHOOK_TOKEN = "canary-token-Saffron-Gantry-2718"
WEBHOOK_SECRET = "whsec_canarySpindleOrchard3141canaryAAAAAAAAAAAA="
SECOND_PROVIDER_KEY = "sk-second-provider-Velvet-Harpoon-5620"

NEEDLES = {
    "client key": bundles.CLIENT_KEY[6:30],
    "provider key": bundles.PROVIDER_KEY[6:24],
    "second provider key": "Velvet-Harpoon-5620",
    "webhook token": "Saffron-Gantry-2718",
    "webhook secret": "SpindleOrchard3141",
    "prompt": "Quixotic-Marmalade-4471",
    "answer": "Obsidian-Teapot-9083",
}


def found_in(text: str) -> list[str]:
    """Which secrets the text holds."""
    return [name for name, needle in NEEDLES.items() if needle in text]


def found_in_logs(folder: Path) -> list[str]:
    """What programs that a test started wrote into files there, by file."""
    return [
        f"{secret} in {path.name}"
        for path in folder.glob("*.log")
        for secret in found_in(path.read_text(errors="replace"))
    ]
