"""`runestone audit verify`: whatever is done to records is found, and said where."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runestone_contract.chain import MARK, ORIGIN, seal
from runestone_operator.cli.chains import Verifier
from runestone_operator.cli.main import main
from runestone_operator.cli.report import Place

if TYPE_CHECKING:
    from pathlib import Path

ACCESS = b'{"time":"2026-01-01T00:00:00.000Z","level":"info","message":"request","status":200}'


def rendered(**fields: Any) -> bytes:
    data = json.dumps({"message": "audit"} | fields, separators=(",", ":")).encode()
    assert data.startswith(MARK)
    return data


def chain(count: int, *, id_: str = "aa", events: dict[int, dict[str, Any]] | None = None) -> Any:
    """So many records, the first and the last as a process writes them."""
    lines, prev = list[bytes](), ORIGIN
    for seq in range(count):
        event = {0: "start", count - 1: "stop"}.get(seq, "request")
        fields = {"event": event} | (events or {}).get(seq, {})
        line, prev = seal(rendered(chain=id_, seq=seq, prev=prev, **fields))
        lines.append(line)
    return lines


@dataclass
class Result:
    code: int
    said: str

    def broken(self) -> str:
        (line,) = [line for line in self.said.splitlines() if line.startswith("BROKEN ")]
        return line.removeprefix("BROKEN ")


class Desk:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def verify(self, *files: list[bytes]) -> Result:
        names = []
        for number, lines in enumerate(files):
            path = self.folder / f"{number}.jsonl"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            names.append(path.name)
        code = main(["audit", "verify", *names])
        return Result(code, self._capsys.readouterr().out)


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_a_whole_chain(desk: Desk) -> None:
    lines = chain(5)
    found = desk.verify(lines)
    assert found.code == 0
    assert found.said.startswith(
        "Chain aa: 5 records, 0.jsonl:1 to 0.jsonl:5\n"
        f"  last hash: {json.loads(lines[-1])['hash']}\n"
        "5 records in 1 chain: every link holds.\n"
        "What was cut off behind the last record"
    )


def edited(line: bytes) -> bytes:
    return line.replace(b"request", b"REQUEST")


CASES = [
    pytest.param(
        lambda c: [*c[:2], edited(c[2]), *c[3:]],
        "0.jsonl:3: this line is no record as it was written: it was edited: it does not have the"
        " hash that it tells",
        id="edited",
    ),
    pytest.param(
        lambda c: [*c[:2], chain(6, id_="aa", events={2: {"by": "me"}})[2], *c[3:]],
        "0.jsonl:4: record 3 was not written after this record 2: one of them was replaced",
        id="edited-with-a-new-hash",
    ),
    pytest.param(
        lambda c: [*c[:2], *c[3:]],
        "0.jsonl:3: record 2 is missing before record 3: removed",
        id="removed",
    ),
    pytest.param(
        lambda c: [*c[:1], *c[4:]],
        "0.jsonl:2: records 1 to 3 are missing before record 4: removed",
        id="several-removed",
    ),
    pytest.param(
        lambda c: c[1:],
        "0.jsonl:1: record 0 is missing before record 1: removed, or in an earlier file that was"
        " not given",
        id="beginning-removed",
    ),
    pytest.param(
        lambda c: [c[0], c[2], c[1], *c[3:]],
        "0.jsonl:2: record 1 is missing before record 2: it was moved to 0.jsonl:3",
        id="moved",
    ),
    pytest.param(
        lambda c: [*c[:3], c[2], *c[3:]],
        "0.jsonl:4: record 2 stands here after record 2",
        id="copied",
    ),
    pytest.param(
        lambda c: [*c, b'{"message":"audit","chain":"aa"'],
        "0.jsonl:7: this line is no record as it was written: it is not whole",
        id="torn",
    ),
    pytest.param(
        lambda c: [*c[:2], b"#" + c[2][1:], *c[3:]],
        "0.jsonl:3: this line is no record as it was written: it is not whole",
        id="its-beginning-edited",
    ),
]


@pytest.mark.parametrize(("tamper", "said"), CASES)
def test_what_was_done_is_told_with_its_line(desk: Desk, tamper: Any, said: str) -> None:
    found = desk.verify(tamper(chain(6)))
    assert (found.code, found.broken()) == (1, said)
    assert "not as they were written" in found.said


@pytest.mark.parametrize(("tamper", "said"), CASES)
def test_it_is_found_among_other_lines_and_chains(desk: Desk, tamper: Any, said: str) -> None:
    """Behind lines of other kinds, each with a prefix as a runtime of containers writes it."""
    other = iter(chain(20, id_="bb"))
    lines = [ACCESS]
    for line in tamper(chain(6)):
        lines += [b"2026-01-01T00:00:00Z stdout F " + line, next(other), ACCESS]
    found = desk.verify(lines)
    assert found.code == 1
    assert (
        found.broken().partition(": ")[2].split(" 0.jsonl")[0]
        == (said.partition(": ")[2].split(" 0.jsonl")[0])
    )
    assert "Chain bb: " in found.said


def test_what_is_cut_off_at_the_end_is_not_known_and_said_so(desk: Desk) -> None:
    lines = chain(6)
    found = desk.verify(lines[:4])
    assert found.code == 0
    assert "without a closing record: it is still written, was killed, or its end was cut off" in (
        found.said
    )
    assert json.loads(lines[3])["hash"] in found.said
    assert "cannot be seen from the records alone" in found.said


def test_several_files_are_read_as_one(desk: Desk) -> None:
    lines = chain(6)
    assert desk.verify(lines[:2], lines[2:]).code == 0
    found = desk.verify(lines[2:], lines[:2])
    assert found.code == 1
    assert "it was moved to 1.jsonl:1" in found.broken()


def test_what_a_chain_tells_of_itself_is_said(desk: Desk) -> None:
    told: dict[int, dict[str, Any]] = {
        2: {"event": "lost", "count": 3},
        3: {"event": "start", "torn": {"bytes": 5}},
    }
    found = desk.verify(chain(6, events=told))
    assert found.code == 0
    assert "  1 torn line of a killed process put aside, as it tells\n" in found.said
    assert "  3 records lost while nothing could be written, as it tells\n" in found.said


def test_no_record_is_no_success(desk: Desk) -> None:
    found = desk.verify([ACCESS] * 3)
    assert (found.code, found.said) == (1, "There is no audit record in there.\n")


def test_a_file_that_is_not_there(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "nowhere"]) == 2
    assert (
        capsys.readouterr().err == "runestone: nowhere cannot be read: No such file or directory\n"
    )


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b"".join(line + b"\n" for line in chain(3))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["audit", "verify", "-"]) == 0
    assert "stdin:1 to stdin:3" in capsys.readouterr().out


# --- properties


def broken(lines: list[bytes]) -> bool:
    verifier = Verifier()
    for number, line in enumerate(b"\n".join(lines).split(b"\n"), start=1):
        verifier.read(Place("f", number), line)
    return any(verifier.breaks())


LENGTHS = some.integers(3, 12)


@given(LENGTHS, some.data())
def test_any_record_that_is_taken_out_is_missed(count: int, data: some.DataObject) -> None:
    lines = chain(count)
    del lines[data.draw(some.integers(0, count - 2))]  # the last one is an end cut off
    assert broken(lines)


@given(LENGTHS, some.data())
def test_any_byte_that_is_changed_is_seen(count: int, data: some.DataObject) -> None:
    lines = chain(count)
    number = data.draw(some.integers(0, count - 1))
    at = data.draw(some.integers(0, len(lines[number]) - 1))
    byte = data.draw(some.integers(0, 255).filter(lambda byte: byte != lines[number][at]))
    lines[number] = lines[number][:at] + bytes([byte]) + lines[number][at + 1 :]
    assert broken(lines)


@given(LENGTHS, some.data())
def test_any_other_order_is_seen(count: int, data: some.DataObject) -> None:
    lines = chain(count)
    order = data.draw(some.permutations(range(count)).filter(lambda p: p != sorted(p)))
    assert broken([lines[each] for each in order])


@given(LENGTHS, some.data())
def test_any_record_that_is_put_in_is_seen(count: int, data: some.DataObject) -> None:
    lines = chain(count)
    copied = lines[data.draw(some.integers(0, count - 1))]
    lines.insert(data.draw(some.integers(0, count)), copied)
    assert broken(lines)


@given(LENGTHS)
def test_what_nobody_touched_holds(count: int) -> None:
    assert not broken(chain(count))
