"""What sidecars ask of JetStream, and what their user may: one list for two programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runestone_operator.nats.permissions import sidecar_permissions

SIDECAR = Path(__file__).parents[2] / "sidecar" / "runestone_sidecar"
ALLOWED = sidecar_permissions("shop")["pub"]["allow"]
_CALL = re.compile(r"\b(?:STREAM|CONSUMER|DIRECT)(?:\.[A-Z]+)+\b")


def asked() -> set[str]:
    text = "\n".join(path.read_text() for path in SIDECAR.rglob("*.py"))
    return set(_CALL.findall(text))


def test_sidecars_may_ask_what_they_ask() -> None:
    """What the client's own classes ask for them (a ledger's) is in the tests with real servers."""
    calls = asked()
    assert "STREAM.CREATE" in calls
    missing = {call for call in calls if not any(f"$JS.API.{call}." in each for each in ALLOWED)}
    assert missing == set(), "to be added to operator/runestone_operator/nats/permissions.py"


@pytest.mark.parametrize(
    "verb",
    ["STREAM.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.NAMES", "STREAM.LIST",
     "CONSUMER.DELETE", "CONSUMER.PAUSE", "META", "SERVER", "ACCOUNT"],
)  # fmt: skip
def test_and_nothing_that_none_of_them_asks(verb: str) -> None:
    assert not any(each.startswith(f"$JS.API.{verb}") for each in ALLOWED)
    assert "$JS.API.>" not in ALLOWED
