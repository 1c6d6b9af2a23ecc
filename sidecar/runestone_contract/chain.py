"""How audit records hang together: the sidecar writes the chain, `runestone audit verify` reads it.

A record is one line of JSON. It ends in its own hash, SHA-256 of the line without that last field,
and holds the hash of the record before it and its number in the chain. So a line that was changed,
taken out or moved is found; only the end of a chain can be cut off unseen, by whoever did not note
its last hash elsewhere.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from runestone_contract.canonical import digest

MARK: Final = b'{"message":"audit",'  # how each begins, also between lines of other kinds
ORIGIN: Final = "0" * 64  # before the first record
START: Final = "start"  # events: a process begins to write, and a chain where there is none
STOP: Final = "stop"  # it was drained, and ends
REQUEST: Final = "request"
LOST: Final = "lost"  # so many could not be written

_OWN_HASH: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_OWN_HASH_BYTES: Final = len(b',"hash":"') + 64 + len(b'"}')


class NoRecordError(Exception):
    """The line is no audit record, or not any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Link:
    """What of a record ties it to the others."""

    chain: str
    seq: int
    prev: str
    hash: str
    event: str
    record: dict[str, Any]


def seal(fields: bytes) -> tuple[bytes, str]:
    """A record, rendered without its hash -> its line without the line break, and the hash."""
    found = digest(fields)
    return b'%b,"hash":"%b"}' % (fields[:-1], found.encode()), found


def read_link(line: bytes) -> Link:
    """Raises NoRecordError."""
    end = _OWN_HASH.fullmatch(line, max(0, len(line) - _OWN_HASH_BYTES))
    if not line.startswith(MARK) or end is None:
        raise NoRecordError("it is not whole")
    told = end[1].decode()
    if digest(line[: end.start()] + b"}") != told:
        raise NoRecordError("it was edited: it does not have the hash that it tells")
    try:
        record = json.loads(line)
        return Link(
            chain=str(record["chain"]),
            seq=int(record["seq"]),
            prev=str(record["prev"]),
            hash=told,
            event=str(record["event"]),
            record=record,
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoRecordError("it is no record of a chain, though its hash is right") from None
