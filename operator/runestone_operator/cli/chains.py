"""Reads audit records line by line and says where a chain does not hold. No I/O.

Lines of other kinds may stand between them, as in a log, and records of several chains in one
another, as in a log of several processes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from runestone_contract.chain import LOST, MARK, ORIGIN, STOP, Link, NoRecordError, read_link
from runestone_operator.cli.report import Place

_CHAIN: Final = re.compile(rb'"chain":"([0-9a-f]{1,64})"')
_ENDS_LIKE_ONE: Final = re.compile(rb'"hash":"[0-9a-f]{64}"\}$')


@dataclass(slots=True)
class Break:
    """Where a chain does not hold any more."""

    place: Place
    what: str
    missing: int | None = None  # the record that should stand here
    found: Place | None = None  # where that stands


@dataclass(slots=True)
class Chain:
    id: str
    first: Place
    last: Place
    link: Link | None = None  # the last one that held
    records: int = 0
    lost: int = 0
    torn: int = 0
    broken: Break | None = None

    @property
    def closed(self) -> bool:
        return self.link is not None and self.link.event == STOP

    def add(self, place: Place, link: Link) -> None:
        self.last = place
        self.records += 1
        if self.broken is not None:  # only the first is told, and whether it was a move
            if link.seq == self.broken.missing:
                self.broken.found = place
            return
        self.broken = self._check(place, link)
        if self.broken is None:
            self.link = link
            if link.event == LOST:
                count = link.record.get("count")
                self.lost += count if isinstance(count, int) else 0
            self.torn += "torn" in link.record

    def _check(self, place: Place, link: Link) -> Break | None:
        wanted = 0 if self.link is None else self.link.seq + 1
        if link.seq > wanted:
            return Break(place, _missing(wanted, link.seq), missing=wanted)
        if link.seq < wanted:
            return Break(place, f"record {link.seq} stands here after record {wanted - 1}")
        if link.prev != (ORIGIN if self.link is None else self.link.hash):
            return Break(place, _not_the_next(link.seq))
        return None


class Verifier:
    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}
        self._of_none: list[Break] = []  # lines that do not say which chain they were of

    def read(self, place: Place, line: bytes) -> None:
        at = line.find(MARK)
        if at < 0 and not _ENDS_LIKE_ONE.search(line):
            return
        try:
            link = read_link(line[max(0, at) :])
        except NoRecordError as error:
            self._break(place, line, error.reason)
            return
        self._chain(link.chain, place).add(place, link)

    @property
    def records(self) -> int:
        return sum(chain.records for chain in self.chains.values())

    def breaks(self) -> Iterator[Break]:
        """The first of each chain."""
        yield from self._of_none
        for chain in self.chains.values():
            if chain.broken is not None:
                yield chain.broken

    def _chain(self, id_: str, place: Place) -> Chain:
        return self.chains.setdefault(id_, Chain(id_, place, place))

    def _break(self, place: Place, line: bytes, reason: str) -> None:
        found = Break(place, f"this line is no record as it was written: {reason}")
        told = _CHAIN.search(line)
        if told is None:
            self._of_none.append(found)
            return
        chain = self._chain(told[1].decode(), place)
        chain.broken = chain.broken or found


def _missing(wanted: int, seq: int) -> str:
    if wanted == seq - 1:
        return f"record {wanted} is missing before record {seq}"
    return f"records {wanted} to {seq - 1} are missing before record {seq}"


def _not_the_next(seq: int) -> str:
    if seq == 0:
        return "record 0 follows another, which is not there"
    return f"record {seq} was not written after this record {seq - 1}: one of them was replaced"
