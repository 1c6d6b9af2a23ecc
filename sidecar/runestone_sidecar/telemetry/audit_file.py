"""A file that audit records are appended to, and what its last writer left there.

One process at a time writes to it. What a killed process left of a line is put into a file beside
it, and the next record names that: nothing is dropped, and every line of the file stays whole.
"""

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runestone_contract.canonical import digest
from runestone_contract.chain import MARK, Link, NoRecordError, read_link

TAIL_BYTES: Final = 256 * 1024  # of the file, in which its last record must end


class AuditUnavailable(Exception):
    """The records cannot be written where they were to be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class AuditFile:
    path: Path
    fd: int
    size_bytes: int  # of whole lines
    last: Link | None  # None: it has none yet
    torn: bytes  # behind them

    def put_torn_aside(self) -> dict[str, Any] | None:
        """What the next record is to tell of it. Raises AuditUnavailable."""
        if not self.torn:
            return None
        found = digest(self.torn)
        aside = self.path.with_name(f"{self.path.name}.torn-{found[:12]}")
        try:
            with open(aside, "wb", opener=_private) as file:
                file.write(self.torn)
                file.flush()
                os.fsync(file.fileno())
            os.ftruncate(self.fd, self.size_bytes)
        except OSError as error:
            raise AuditUnavailable(f"{aside} cannot be written: {error.strerror}") from error
        return {"bytes": len(self.torn), "sha256": found, "file": aside.name}


def open_audit_file(path: Path) -> AuditFile:
    """Raises AuditUnavailable. Nothing is written yet."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise AuditUnavailable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        return _look(path, fd)
    except BaseException:
        os.close(fd)
        raise


def _look(path: Path, fd: int) -> AuditFile:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise AuditUnavailable(f"{path} is not a regular file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise AuditUnavailable(f"another process writes to {path}") from None
    size = os.fstat(fd).st_size  # whoever held the lock may have written meanwhile
    tail = os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES))
    *whole, torn = tail.split(b"\n")
    if whole:
        try:
            last = read_link(whole[-1])
        except NoRecordError as error:
            raise _foreign(path, error.reason) from error
    elif torn[: len(MARK)] == MARK[: len(torn)] and size == len(tail):
        last = None  # empty, or killed with its first record
    else:
        raise _foreign(path, "it is not whole")
    return AuditFile(path, fd, size - len(torn), last, torn)


def _foreign(path: Path, reason: str) -> AuditUnavailable:
    return AuditUnavailable(
        f"{path} does not end in an audit record ({reason}); move it away, or name another file"
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
