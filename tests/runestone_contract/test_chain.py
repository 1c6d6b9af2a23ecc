"""A record tells its own hash and its place, and nothing else is taken for one."""

import json

import pytest

from runestone_contract.canonical import digest
from runestone_contract.chain import MARK, ORIGIN, NoRecordError, read_link, seal

FIELDS = MARK + b'"chain":"c0","seq":3,"prev":"%b","event":"request"}' % ORIGIN.encode()


def resealed(fields: bytes) -> bytes:
    return seal(fields)[0]


def test_a_sealed_record_is_json_and_reads_back() -> None:
    line, own = seal(FIELDS)
    assert json.loads(line) == {**json.loads(FIELDS), "hash": own}
    assert own == digest(FIELDS)
    link = read_link(line)
    assert (link.chain, link.seq, link.prev, link.hash, link.event) == (
        "c0",
        3,
        ORIGIN,
        own,
        "request",
    )


def test_any_bit_that_differs_is_seen() -> None:
    line, _ = seal(FIELDS)
    for at in range(len(line)):
        for bit in range(8):
            changed = bytearray(line)
            changed[at] ^= 1 << bit
            with pytest.raises(NoRecordError):
                read_link(bytes(changed))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="other-json"),
        pytest.param(FIELDS, id="without-its-hash"),
        pytest.param(seal(FIELDS)[0][:-1], id="torn"),
        pytest.param(seal(FIELDS)[0] + b" ", id="longer"),
        pytest.param(resealed(b'{"message":"request","seq":3}'), id="of-another-kind"),
        pytest.param(resealed(FIELDS.replace(b'"seq":3,', b"")), id="without-its-place"),
        pytest.param(resealed(FIELDS.replace(b":3,", b":x,")), id="no-json"),
        pytest.param(resealed(FIELDS.replace(b":3,", b':"x",')), id="no-number"),
        pytest.param(resealed(MARK + b'"a":' + b"[" * 100_000 + b"}"), id="deep"),
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(NoRecordError) as refused:
        read_link(line)
    assert refused.value.reason.startswith("it ")
