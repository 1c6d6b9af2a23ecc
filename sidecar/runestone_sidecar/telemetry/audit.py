"""The audit log: a record of every request, each tied to the one before by its hash.

Records leave in batches, at most 50 ms after they were told, and a file is synced to its disk once
a second. Where they cannot be written they are kept and tried again; what is too much to be kept
is counted, and the chain tells how many that were: it never has a hole that its writer made.
"""

import asyncio
import logging
import os
import socket
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import orjson
from prometheus_client import Counter

from runestone_contract.chain import LOST, ORIGIN, START, STOP, seal
from runestone_sidecar.telemetry.audit_file import AuditFile, open_audit_file
from runestone_sidecar.telemetry.log import Clock

OFF: Final = "off"
STDOUT: Final = "stdout"
FLUSH_AFTER_S: Final = 0.05
FLUSH_AT_RECORDS: Final = 256
SYNC_EVERY_S: Final = 1.0
RETRY_S: Final = 1.0
MAX_WAITING: Final = 10_000  # records, while they cannot be written

Entry = dict[str, Any]

log = logging.getLogger(__name__)


class AuditLog:
    """Appends to stdout, or to a file, whose chain goes on. `begin` first, `close` at the end."""

    def __init__(self, counter: Counter, file: AuditFile | None = None) -> None:
        self._counter = counter  # by result
        self._file = file
        self._fd = 1 if file is None else file.fd
        last = file.last if file is not None else None
        self._chain = last.chain if last is not None else os.urandom(8).hex()
        self._seq = last.seq + 1 if last is not None else 0
        self._prev = last.hash if last is not None else ORIGIN
        self._clock = Clock()
        self._waiting: list[Entry] = []
        self._lost = 0
        self._unwritten = memoryview(b"")  # sealed: what a write that failed left of it
        self._failing = False
        self._unsynced = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Raises AuditUnavailable."""
        torn = self._file.put_torn_aside() if self._file is not None else None
        who = {"host": socket.gethostname(), "pid": os.getpid(), "version": version("runestone")}
        self._waiting.append(self._own(START, **who, **({"torn": torn} if torn else {})))
        self.flush()

    def write(self, entry: Entry) -> None:
        """What it holds follows the record's place in the chain, in this order."""
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            self._counter.labels("lost").inc()
            return
        self._waiting.append(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
        elif len(self._waiting) == FLUSH_AT_RECORDS and not self._failing:
            self.flush()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._put_out()
            while self._waiting:
                self._seal_waiting()
                self._put_out()
        except OSError as error:
            self._keep(error)
            return
        self._failing = False

    async def keep_synced(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            if self._unsynced and self._file is not None:
                self._unsynced = False
                try:
                    await asyncio.to_thread(os.fsync, self._fd)
                except OSError as error:
                    self._unsynced = True
                    log.error("audit: the file cannot be synced: %s", error.strerror)

    def close(self) -> None:
        """The chain ends here, or goes on with the next process."""
        self._waiting.append(self._own(STOP))
        self.flush()
        if self._timer is not None:  # it would be tried again
            self._timer.cancel()
            log.error("audit: the last records could not be written")
        if self._file is not None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                log.error("audit: the file cannot be synced: %s", error.strerror)
            os.close(self._fd)

    def _seal_waiting(self) -> None:
        """A record is in the chain from here on: it is written, or the chain ends before it."""
        waiting, self._waiting = self._waiting, []
        if self._lost:
            waiting.append(self._own(LOST, count=self._lost))
            self._lost = 0
        lines = [self._sealed(entry) for entry in waiting]
        self._unwritten = memoryview(b"".join(lines))
        self._counter.labels("written").inc(len(lines))

    def _sealed(self, entry: Entry) -> bytes:
        place = {
            "message": "audit",  # first: by this it is known
            "level": "info",
            "chain": self._chain,
            "seq": self._seq,
            "prev": self._prev,
        }
        line, self._prev = seal(orjson.dumps(place | entry))
        self._seq += 1
        return line + b"\n"

    def _put_out(self) -> None:
        while self._unwritten:
            self._unwritten = self._unwritten[os.write(self._fd, self._unwritten) :]
            self._unsynced = True

    def _keep(self, error: OSError) -> None:
        if not self._failing:
            log.error(
                "audit: records cannot be written: %s; they are tried again, %d at most are kept",
                error.strerror,
                MAX_WAITING,
            )
        self._failing = True
        self._timer = asyncio.get_running_loop().call_later(RETRY_S, self.flush)

    def _own(self, event: str, **fields: Any) -> Entry:
        return {"event": event, "time": self._clock.stamp(time.time()), **fields}


def open_audit(destination: str, counter: Counter) -> AuditLog | None:
    """None where there is to be none. Raises AuditUnavailable."""
    if destination == OFF:
        return None
    file = None if destination == STDOUT else open_audit_file(Path(destination))
    return AuditLog(counter, file)
