"""A user's `.creds` file: what is taken from it, and what is none."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runestone_sidecar.broker.credentials import BadCredentials, Credentials

if TYPE_CHECKING:
    from pathlib import Path

USER = b"\x95\x00"
ACCOUNT = b"\x90\x00"

FILE = """\
-----BEGIN NATS USER JWT-----
eyJ0eXAi.eyJqdGki.c2ln
------END NATS USER JWT------

************************* IMPORTANT *************************
-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


def seed_of(raw: bytes, kind: bytes = USER) -> str:
    checked = kind + raw
    checksum = binascii.crc_hqx(checked, 0).to_bytes(2, "little")
    return base64.b32encode(checked + checksum).decode().rstrip("=")


def credentials(folder: Path, text: str) -> Credentials:
    path = folder / "user.creds"
    path.write_text(text)
    return Credentials(path)


def test_the_seed_signs_what_the_server_asks(tmp_path: Path) -> None:
    raw = os.urandom(32)
    found = credentials(tmp_path, FILE.format(seed=seed_of(raw)))

    assert found.jwt() == b"eyJ0eXAi.eyJqdGki.c2ln"
    public = Ed25519PrivateKey.from_private_bytes(raw).public_key()
    public.verify(base64.b64decode(found.sign("a-nonce")), b"a-nonce")


def test_a_seed_as_nats_writes_it_begins_with_su() -> None:
    assert seed_of(bytes(32)).startswith("SU")


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed_of(bytes(32), ACCOUNT), id="of-an-account"),
        pytest.param(seed_of(bytes(32))[:-2] + "AA", id="mistyped"),
        pytest.param("SUAB", id="short"),
        pytest.param("not base32!", id="no-seed"),
    ],
)
def test_what_is_no_seed_of_a_user_is_refused(tmp_path: Path, seed: str) -> None:
    with pytest.raises(BadCredentials):
        credentials(tmp_path, FILE.format(seed=seed)).sign("a-nonce")


def test_a_file_without_a_jwt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials):
        credentials(tmp_path, "").jwt()


def test_those_that_nobody_named_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "nats.creds"
    found, named = Credentials(path, required=False), Credentials(path)
    assert (found.are_there, named.are_there) == (False, True)
    path.write_text("")
    assert (found.are_there, named.are_there) == (True, True)
