"""What the Secret holds through a rotation, and whom the API server is told to trust."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from runestone_operator.certificate.pair import Pair, make_pair, now_utc
from runestone_operator.certificate.stored import Stored, parse_stored

NOW = now_utc()


def made(*, ago_s: float = 0, life_s: float = 1000) -> Pair:
    return make_pair(["a.example"], now=NOW - timedelta(seconds=ago_s), life_s=life_s)


def written(stored: Stored, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a merge patch makes of the Secret."""
    manifest = stored.manifest("system", "cert")
    data = {**(before or {}).get("data", {}), **manifest["data"]}
    kept = {name: value for name, value in data.items() if value is not None}
    return {"metadata": {"resourceVersion": "7"}, "data": kept}


def test_a_rotation_step_by_step() -> None:
    old, new = made(), made()
    first = Stored(old, version="7")
    secret = written(first)
    assert parse_stored(secret) == first
    assert first.bundle(NOW) == old.ca

    announced = first.announcing(new)
    secret = written(announced, secret)
    assert parse_stored(secret) == announced
    assert announced.bundle(NOW) == old.ca + new.ca

    promoted = announced.promoted()
    secret = written(promoted, secret)
    assert parse_stored(secret) == promoted
    assert promoted.current == new
    assert promoted.bundle(NOW) == new.ca + old.ca  # replicas may serve the old one still
    assert "next-tls.key" not in secret["data"]


def test_an_authority_that_has_expired_is_trusted_no_more() -> None:
    stored = Stored(made(), previous_ca=made(ago_s=100, life_s=50).ca)
    assert stored.bundle(NOW) == stored.current.ca


def test_what_another_hand_wrote_is_no_certificate() -> None:
    stored = parse_stored(
        {"metadata": {"resourceVersion": "1"}, "data": {"tls.crt": "%", "a": "b"}}
    )
    assert stored.validity is None
    assert stored.upcoming is None
    assert stored.bundle(NOW) == b""


def test_the_secret_is_changed_only_as_it_was_read() -> None:
    manifest = Stored(made(), version="41").manifest("system", "cert")
    assert manifest["metadata"]["resourceVersion"] == "41"


def test_no_key_is_shown() -> None:
    assert "PRIVATE" not in repr(Stored(made(), made()))
