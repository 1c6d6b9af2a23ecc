"""What is sealed opens as what it is, for its own job, with the same key, or not at all."""

from __future__ import annotations

import base64

import pytest

from runestone_sidecar.overflow.seal import BadKey, Sealer, Unreadable, parse_key

KEY = bytes(range(32))
SEALED = Sealer(KEY).seal("request", "job_a", b"prompt")


def test_it_comes_back_and_no_two_look_alike() -> None:
    assert Sealer(KEY).open("request", "job_a", SEALED) == b"prompt"
    assert Sealer(KEY).seal("request", "job_a", b"prompt") != SEALED
    assert b"prompt" not in SEALED


@pytest.mark.parametrize(
    ("kind", "job", "blob", "key"),
    [
        pytest.param("result 1", "job_a", SEALED, KEY, id="another-kind"),
        pytest.param("request", "job_b", SEALED, KEY, id="another-job"),
        pytest.param("request", "job_a", SEALED, bytes(32), id="another-key"),
        pytest.param("request", "job_a", SEALED[:-1], KEY, id="cut"),
        pytest.param("request", "job_a", b"\x02" + SEALED[1:], KEY, id="another-version"),
        pytest.param("request", "job_a", b"", KEY, id="empty"),
    ],
)
def test_anything_else_is_unreadable(kind: str, job: str, blob: bytes, key: bytes) -> None:
    with pytest.raises(Unreadable):
        Sealer(key).open(kind, job, blob)


def test_marks_tell_parts_apart() -> None:
    sealer = Sealer(KEY)
    assert sealer.mark(b"ab", b"c") == sealer.mark(b"ab", b"c")
    assert sealer.mark(b"ab", b"c") != sealer.mark(b"a", b"bc")
    assert sealer.mark(b"ab") != Sealer(bytes(32)).mark(b"ab")


@pytest.mark.parametrize(
    "text",
    ["", "no base64!", base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(33)).decode()],
    ids=["empty", "no-base64", "short", "long"],
)
def test_a_key_is_32_bytes_in_base64(text: str) -> None:
    assert parse_key(base64.b64encode(KEY).decode()) == KEY
    with pytest.raises(BadKey):
        parse_key(text)
