"""Presented key -> Principal."""

import pytest

from runestone_contract.config import Key, KeyHash
from runestone_contract.names import NO_KEY
from runestone_sidecar.admit.auth import authenticate
from runestone_sidecar.config.build import Credentials
from runestone_sidecar.config.snapshot import Snapshot
from runestone_sidecar.errors import BadRequest, Unauthorized
from runestone_testing import bundles

NOW_S = 1_800_000_000
OLD_KEY = "sk-rs-test-old-0123456789abcdefghijklmnop"


def snapshot(*keys: Key) -> Snapshot:
    return bundles.snapshot(bundles.config(keys=keys), Credentials(digest="", values={}))


def ask(found: Snapshot, *headers: tuple[bytes, bytes], account: str | None = None) -> str:
    return authenticate(found, headers, service_account=account, now_s=NOW_S).id


def bearer(key: str = bundles.CLIENT_KEY, scheme: str = "Bearer") -> tuple[bytes, bytes]:
    return b"authorization", f"{scheme} {key}".encode()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([bearer()], id="bearer"),
        pytest.param([bearer(scheme="bearer")], id="B3-lower-case"),
        pytest.param([(b"x-api-key", bundles.CLIENT_KEY.encode())], id="x-api-key"),
        pytest.param([bearer(), (b"x-api-key", b"sk-other")], id="authorization-wins"),
    ],
)
def test_a_known_key_is_its_api_key(headers: list[tuple[bytes, bytes]]) -> None:
    assert ask(snapshot(bundles.key()), *headers) == "shop/app"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="B1-none"),
        pytest.param([bearer(scheme="Basic")], id="B2-basic"),
        pytest.param([bearer("")], id="empty"),
        pytest.param([bearer("sk-rs-test-unknown-000000000000")], id="unknown"),
        pytest.param([bearer(bundles.CLIENT_KEY[:-1])], id="near-miss"),
        pytest.param([bearer("ключ")], id="B6-not-ascii"),
        pytest.param([bearer("k" * 1_000_000)], id="B6-1MB"),
        pytest.param([(b"authorization", b"Bearer sk-\0\r\nx: y")], id="B6-control-characters"),
    ],
)
def test_anything_else_is_401(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized) as refused:
        ask(snapshot(bundles.key()), *headers)
    assert refused.value.code == "invalid_api_key"


def test_two_authorizations_are_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        ask(snapshot(bundles.key()), bearer(), bearer())


@pytest.mark.parametrize(
    ("fields", "usable"),
    [
        pytest.param({"enabled": False}, False, id="disabled"),
        pytest.param({"expires_at_s": NOW_S}, False, id="expired-now"),
        pytest.param({"expires_at_s": NOW_S + 1}, True, id="expires-next-second"),
    ],
)
def test_a_known_key_may_be_out_of_force(fields: dict[str, object], usable: bool) -> None:
    found = snapshot(bundles.key(fields=fields))
    if usable:
        assert ask(found, bearer()) == "shop/app"
    else:
        with pytest.raises(Unauthorized):
            ask(found, bearer())


@pytest.mark.parametrize(
    ("not_after_s", "usable"),
    [pytest.param(NOW_S + 1, True, id="in-overlap"), pytest.param(NOW_S, False, id="over")],
)
def test_a_rotated_key_works_until_its_overlap_ends(not_after_s: int, usable: bool) -> None:
    from runestone_contract.canonical import digest

    old = KeyHash(sha256=digest(OLD_KEY.encode()), not_after_s=not_after_s)
    new = KeyHash(sha256=digest(bundles.CLIENT_KEY.encode()))
    found = snapshot(bundles.key(hashes=[new, old]))
    assert ask(found, bearer()) == "shop/app"
    if usable:
        assert ask(found, bearer(OLD_KEY)) == "shop/app"
    else:
        with pytest.raises(Unauthorized):
            ask(found, bearer(OLD_KEY))


def test_a_service_account_needs_no_key_but_a_wrong_key_stays_wrong() -> None:
    found = snapshot(bundles.key(service_accounts=["checkout"]))
    assert ask(found, account="checkout") == "shop/app"
    with pytest.raises(Unauthorized):
        ask(found, account="other")
    with pytest.raises(Unauthorized):
        ask(found, bearer("sk-wrong"), account="checkout")


@pytest.mark.parametrize(
    "header", [bearer(NO_KEY), (b"x-api-key", NO_KEY.encode())], ids=["bearer", "x-api-key"]
)
def test_what_sdks_send_that_know_no_key_is_none(header: tuple[bytes, bytes]) -> None:
    found = snapshot(bundles.key(service_accounts=["checkout"]))
    assert ask(found, header, account="checkout") == "shop/app"
    with pytest.raises(Unauthorized) as refused:
        ask(found, header, account="other")
    assert "didn't provide an API key" in refused.value.message
