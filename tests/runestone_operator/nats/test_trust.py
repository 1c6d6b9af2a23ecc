"""What the operator signs: whom it names, and that it is the same each time."""

from __future__ import annotations

import pytest

from runestone_operator.nats import tokens
from runestone_operator.nats.creds import read_user
from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.server_config import auth_config
from runestone_operator.nats.trust import Home, Trust, home_of

TRUST = Trust(KeyPair(Role.OPERATOR, bytes(range(32))))
SHOP = Home("shop", "uid-1")


def test_the_same_seed_tells_the_server_the_same() -> None:
    again = Trust(KeyPair.parse(Role.OPERATOR, TRUST.operator.seed))
    assert auth_config(again, "/data/jwt") == auth_config(TRUST, "/data/jwt")


def test_the_server_is_told_nothing_secret() -> None:
    told = auth_config(TRUST, "/data/jwt")
    for secret in (TRUST.operator, TRUST.system, TRUST.system_user()):
        assert secret.seed not in told


def test_new_credentials_are_new_each_time_and_known_again() -> None:
    one, two = TRUST.issue(SHOP), TRUST.issue(SHOP)
    assert TRUST.user_of(SHOP, one) != TRUST.user_of(SHOP, two)
    assert TRUST.user_of(SHOP, one + b"\n") == TRUST.user_of(SHOP, one) is not None


@pytest.mark.parametrize(
    ("credentials", "home"),
    [
        pytest.param(TRUST.issue(SHOP), Home("shop", "uid-2"), id="of-a-namespace-that-was"),
        pytest.param(TRUST.issue(Home("bank", "uid-3")), SHOP, id="of-another-namespace"),
        pytest.param(Trust(KeyPair.generate(Role.OPERATOR)).issue(SHOP), SHOP, id="of-another"),
        pytest.param(TRUST.issue(SHOP).replace(b"SU", b"SV"), SHOP, id="changed"),
        pytest.param(TRUST.issue(SHOP) + TRUST.issue(SHOP), SHOP, id="two"),
        pytest.param(b"", SHOP, id="empty"),
        pytest.param(b"\xff", SHOP, id="no-text"),
    ],
)
def test_other_credentials_let_nobody_in(credentials: bytes, home: Home) -> None:
    assert TRUST.user_of(home, credentials) is None


def test_no_key_but_the_users_is_in_the_credentials() -> None:
    issued = TRUST.issue(SHOP)
    user = read_user(issued)
    assert user is not None
    for secret in (TRUST.operator, TRUST.system, TRUST.account(SHOP)):
        assert secret.seed.encode() not in issued


def test_an_account_says_whose_it_is() -> None:
    claims = TRUST.account_claims(SHOP, KeyPair.generate(Role.USER).public, AccountLimits())
    token = TRUST.sign_account(claims, issued_at_s=7)
    assert home_of(tokens.decode(token)) == SHOP
    assert home_of(tokens.decode(TRUST.system_token())) is None
    assert home_of({}) is None


def test_another_user_changes_the_account_and_not_its_key() -> None:
    one, two = (
        TRUST.account_claims(SHOP, KeyPair.generate(Role.USER).public, AccountLimits())
        for _ in range(2)
    )
    assert one["sub"] == two["sub"] == TRUST.account(SHOP).public
    assert one["nats"]["signing_keys"] != two["nats"]["signing_keys"]


def test_a_token_that_is_issued_again_is_another() -> None:
    """A server does nothing about one that it has seen, even if it had forgotten the account."""
    claims = TRUST.account_claims(SHOP, KeyPair.generate(Role.USER).public, AccountLimits())
    assert TRUST.sign_account(claims, issued_at_s=7) != TRUST.sign_account(claims, issued_at_s=7)


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "a.bnVsbA.c", "."])
def test_what_is_no_token_says_nothing(token: str) -> None:
    assert tokens.decode(token) == {}
