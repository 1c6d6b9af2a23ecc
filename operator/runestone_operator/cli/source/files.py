"""Paths as given on the command line -> files -> their documents, each with its place."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runestone_operator.cli.failure import USAGE, CommandError
from runestone_operator.cli.report import Place, Problem
from runestone_operator.cli.source.document import Node, UnreadableError, read_documents

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"
MAX_FILE_BYTES: Final = 32 * 1024 * 1024

Stamp = tuple[int, int, int]  # changes when the file is written or replaced
Stamps = Sequence[tuple[str, Stamp]]


@dataclass(frozen=True, slots=True)
class Document:
    file: str
    node: Node


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read from one file."""

    documents: Sequence[Document] = ()
    problems: Sequence[Problem] = ()


@dataclass(slots=True)
class FileSource:
    """The files under some paths; one that did not change is not read twice."""

    paths: Sequence[str]
    _read: dict[str, tuple[Stamp, Contents]] = field(default_factory=dict)

    def read(self) -> Contents:
        """Raises CommandError where a path is not there."""
        found: list[Contents] = []
        kept: dict[str, tuple[Stamp, Contents]] = {}
        for file in find_files(self.paths):
            if file == STDIN:
                found.append(_parse("<stdin>", sys.stdin.buffer.read()))
                continue
            stamp = _stamp(file)
            known = self._read.get(file)
            contents = known[1] if known and known[0] == stamp else _read_file(file)
            kept[file] = (stamp, contents)
            found.append(contents)
        self._read = kept
        return Contents(
            documents=[document for contents in found for document in contents.documents],
            problems=[problem for contents in found for problem in contents.problems],
        )

    def stamps(self) -> Stamps:
        """Differs from what it was when anything under the paths was written, added or removed."""
        return [(file, _stamp(file)) for file in find_files(self.paths)]


def find_files(paths: Sequence[str]) -> list[str]:
    """Every file once, in the order of the paths and by name inside of each."""
    found: dict[str, str] = {}
    for path in paths:
        for file in _files_at(path):
            found.setdefault(file if file == STDIN else os.path.realpath(file), file)
    return list(found.values())


def _files_at(path: str) -> Iterator[str]:
    if path == STDIN or Path(path).is_file():
        yield path
    elif Path(path).is_dir():
        for folder, folders, files in os.walk(path, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if name.endswith(SUFFIXES) and not name.startswith("."):
                    yield os.path.normpath(os.path.join(folder, name))
    else:
        raise CommandError(f"there is no file or folder {path}", exit_code=USAGE)


def _refuse(error: OSError) -> None:
    raise CommandError(f"{error.filename} cannot be read: {error.strerror}", exit_code=USAGE)


def _stamp(file: str) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:  # gone since the folder was listed
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read_file(file: str) -> Contents:
    try:
        with open(file, "rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problem = Problem(Place(file), f"cannot be read: {error.strerror}")
        return Contents(problems=[problem])
    return _parse(file, data)


def _parse(file: str, data: bytes) -> Contents:
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // (1024 * 1024)
        return Contents(problems=[Problem(Place(file), f"is larger than {limit} MiB")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Contents(problems=[Problem(Place(file, line), "is not UTF-8 text")])
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        documents.extend(Document(file, node) for node in read_documents(text))
    except UnreadableError as error:
        problems.append(Problem(Place(file, error.line), error.message))
    return Contents(documents, problems)
