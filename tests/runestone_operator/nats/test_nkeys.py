"""NATS's keys: as NATS writes them, and what follows from one."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runestone_operator.errors import BadSeedError
from runestone_operator.nats.nkeys import KeyPair, Role

# From NATS's documentation.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_a_seed_of_nats_gives_the_key_that_nats_says() -> None:
    user = KeyPair.parse(Role.USER, SEED)
    assert (user.public, user.seed) == (PUBLIC, SEED)


@pytest.mark.parametrize(
    ("role", "first", "seed_first"),
    [(Role.OPERATOR, "O", "SO"), (Role.ACCOUNT, "A", "SA"), (Role.USER, "U", "SU")],
    ids=lambda value: value.name.lower() if isinstance(value, Role) else "",
)
def test_the_first_letters_tell_what_it_is(role: Role, first: str, seed_first: str) -> None:
    made = KeyPair.generate(role)
    assert made.public.startswith(first)
    assert made.seed.startswith(seed_first)
    assert KeyPair.parse(role, made.seed) == made


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(KeyPair(Role.ACCOUNT, bytes(32)).seed, id="of-an-account"),
        pytest.param(SEED[:-2] + "AA", id="mistyped"),
        pytest.param(SEED[:-8], id="cut"),
        pytest.param("SU", id="short"),
        pytest.param("", id="empty"),
        pytest.param("no seed, but a secret", id="something-else"),
    ],
)
def test_what_is_no_seed_of_that_kind_is_refused_and_not_told(seed: str) -> None:
    with pytest.raises(BadSeedError) as refused:
        KeyPair.parse(Role.USER, seed)
    assert str(refused.value) == "not the seed of a NATS user"


def test_it_signs() -> None:
    made = KeyPair.generate(Role.ACCOUNT)
    public = Ed25519PrivateKey.from_private_bytes(made.secret).public_key()
    public.verify(made.sign(b"what"), b"what")


def test_what_is_derived_depends_on_all_that_it_is_for_and_on_nothing_else() -> None:
    one, other = KeyPair(Role.OPERATOR, bytes(32)), KeyPair(Role.OPERATOR, bytes([1] * 32))
    made = [
        one.derive(Role.ACCOUNT, "a", "b"),
        one.derive(Role.ACCOUNT, "ab"),
        one.derive(Role.ACCOUNT, "a", "", "b"),
        one.derive(Role.ACCOUNT, "a", "c"),
        one.derive(Role.USER, "a", "b"),
        other.derive(Role.ACCOUNT, "a", "b"),
    ]
    assert len({each.secret for each in made}) == len(made)
    assert one.derive(Role.ACCOUNT, "a", "b") == made[0]


def test_a_version_to_come_derives_the_same() -> None:
    """Another key would be another account: every namespace would lose what it has stored."""
    one = KeyPair(Role.OPERATOR, bytes(range(32)))
    assert one.derive(Role.ACCOUNT, "account", "uid").public == (
        "AD3CFH6UEILVDLHNMZD3BQ5DMYHS3Y5TZ43OS643J5BLAJ7DXCCUK6B5"
    )


def test_it_is_not_shown() -> None:
    assert SEED not in repr(KeyPair.parse(Role.USER, SEED))
    assert str(KeyPair.parse(Role.USER, SEED).secret) not in repr(KeyPair.parse(Role.USER, SEED))
