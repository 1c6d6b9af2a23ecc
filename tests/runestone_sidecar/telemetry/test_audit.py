"""The audit log where it cannot be written, where it goes on, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import Counter

from runestone_contract.chain import ORIGIN, Link, read_link
from runestone_sidecar.telemetry import audit as audit_module
from runestone_sidecar.telemetry.audit import AuditLog, open_audit
from runestone_sidecar.telemetry.audit_file import AuditFile, AuditUnavailable, open_audit_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 30.0
FULL = "/dev/full"  # each write to it finds no room
TORN = b'{"message":"audit","le'


@pytest.fixture
def counter() -> Counter:
    return Counter("records", "-", ("result",), registry=None)


def count(counter: Counter, result: str) -> float:
    return counter.labels(result)._value.get()  # type: ignore[no-any-return]


def links(path: Path) -> list[Link]:
    return [read_link(line) for line in path.read_bytes().split(b"\n")[:-1]]


def check_chain(path: Path) -> list[Link]:
    found = links(path)
    hashes = [ORIGIN, *(link.hash for link in found)]
    assert [link.prev for link in found] == hashes[:-1]
    assert [link.seq for link in found] == [*range(len(found))]
    assert len({link.chain for link in found}) == 1
    return found


def entry(number: int) -> dict[str, Any]:
    return {"event": "request", "number": number}


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0.005)


async def one_life(path: Path, counter: Counter, numbers: range) -> None:
    log = open_audit(str(path), counter)
    assert log is not None
    log.begin()
    for number in numbers:
        log.write(entry(number))
    log.close()


async def test_off_is_nothing(counter: Counter) -> None:
    assert open_audit("off", counter) is None


async def test_records_are_flushed_by_themselves_in_order(tmp_path: Path, counter: Counter) -> None:
    path = tmp_path / "audit"
    log = open_audit(str(path), counter)
    assert log is not None
    log.begin()
    for number in range(3):
        log.write(entry(number))
    await until(lambda: len(links(path)) == 4)
    log.close()
    found = check_chain(path)
    assert [link.event for link in found] == ["start", *["request"] * 3, "stop"]
    assert [link.record.get("number") for link in found[1:-1]] == [0, 1, 2]
    assert count(counter, "written") == 5
    assert oct(path.stat().st_mode)[-3:] == "600"


async def test_many_at_once_do_not_wait_for_the_timer(tmp_path: Path, counter: Counter) -> None:
    path = tmp_path / "audit"
    log = open_audit(str(path), counter)
    assert log is not None
    log.begin()
    for number in range(audit_module.FLUSH_AT_RECORDS):
        log.write(entry(number))
    assert len(links(path)) == 1 + audit_module.FLUSH_AT_RECORDS
    log.close()


async def test_a_chain_goes_on_with_the_next_process(tmp_path: Path, counter: Counter) -> None:
    path = tmp_path / "audit"
    for _ in range(3):
        await one_life(path, counter, range(2))
    assert [link.event for link in check_chain(path)] == [
        *["start", "request", "request", "stop"] * 3
    ]


@pytest.mark.parametrize("lives", [0, 1], ids=["of-the-first-record", "of-a-later-one"])
@pytest.mark.parametrize("torn", [TORN, TORN[:1], TORN + b"\x00" * 5000], ids=len)
async def test_a_torn_record_is_put_aside_and_told(
    tmp_path: Path, counter: Counter, torn: bytes, lives: int
) -> None:
    path = tmp_path / "audit"
    for _ in range(lives):
        await one_life(path, counter, range(1))
    with path.open("ab") as file:
        file.write(torn)
    await one_life(path, counter, range(1))
    told = check_chain(path)[-3].record["torn"]
    assert told["bytes"] == len(torn)
    assert (tmp_path / told["file"]).read_bytes() == torn


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"key: value\n", id="another-file"),
        pytest.param(b"key: value", id="without-a-line-break"),
        pytest.param(b"x" * 300_000, id="one-long-line"),
        pytest.param(TORN + b"\n", id="a-record-that-is-not-whole"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit"
    path.write_bytes(content)
    with pytest.raises(AuditUnavailable, match="does not end in an audit record"):
        open_audit_file(path)
    assert path.read_bytes() == content


def test_what_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable, match="cannot be opened: No such file"):
        open_audit_file(tmp_path / "nowhere" / "audit")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuditUnavailable, match="not a regular file"):
        open_audit_file(tmp_path / "pipe")


def on_a_full_disk(path: Path, counter: Counter) -> AuditLog:
    file = AuditFile(path, os.open(FULL, os.O_RDWR), 0, None, b"")
    return AuditLog(counter, file)


def room_again(log: AuditLog, path: Path) -> None:
    """The same descriptor writes to a file from now on."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, log._fd)
    os.close(fd)


async def test_what_finds_no_room_is_kept_and_written_later(
    tmp_path: Path,
    counter: Counter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(audit_module, "RETRY_S", 0.01)
    path = tmp_path / "audit"
    log = on_a_full_disk(path, counter)
    log.begin()
    for number in range(5):
        log.write(entry(number))
    for _ in range(5):
        log.flush()
    assert [record.message for record in caplog.records] == [
        "audit: records cannot be written: No space left on device;"
        " they are tried again, 10000 at most are kept"
    ]
    room_again(log, path)
    await until(lambda: path.exists() and len(links(path)) == 6)
    log.close()
    assert [link.record.get("number") for link in check_chain(path)[1:-1]] == [*range(5)]


async def test_what_cannot_be_kept_is_counted_and_told_in_the_chain(
    tmp_path: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MAX_WAITING", 3)
    path = tmp_path / "audit"
    log = on_a_full_disk(path, counter)
    log.begin()
    for number in range(10):
        log.write(entry(number))
    room_again(log, path)
    log.close()
    found = check_chain(path)
    assert [link.event for link in found] == ["start", *["request"] * 3, "stop", "lost"]
    assert found[-1].record["count"] == 7
    assert count(counter, "lost") == 7


async def test_the_last_records_that_find_no_room_are_told_in_the_log(
    tmp_path: Path, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    log = on_a_full_disk(tmp_path / "audit", counter)
    log.begin()
    log.close()
    assert "audit: the last records could not be written" in caplog.messages


async def test_a_file_is_synced_now_and_then(
    tmp_path: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(audit_module, "SYNC_EVERY_S", 0.01)
    monkeypatch.setattr(os, "fsync", synced.append)
    log = open_audit(str(tmp_path / "audit"), counter)
    assert log is not None
    log.begin()
    task = asyncio.create_task(log.keep_synced())
    await until(lambda: len(synced) == 1)
    for _ in range(10):  # nothing was written since
        await asyncio.sleep(0.01)
    assert synced == [log._fd]
    log.write(entry(1))
    log.flush()
    await until(lambda: len(synced) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    log.close()
    assert len(synced) == 3


def test_a_record_begins_as_the_contract_says(tmp_path: Path, counter: Counter) -> None:
    asyncio.run(one_life(tmp_path / "audit", counter, range(1)))
    line = (tmp_path / "audit").read_bytes().split(b"\n")[1]
    assert [*json.loads(line)][:5] == ["message", "level", "chain", "seq", "prev"]
