"""Which files are read, and what is said of one that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_operator.cli.failure import USAGE, CommandError
from runestone_operator.cli.source.files import MAX_FILE_BYTES, FileSource, find_files

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str = "a: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_means_all_its_resource_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "sub/c.json", "sub/notes.md", ".git/d.yaml", ".e.yaml.swp"):
        write(tmp_path / name)

    found = find_files([str(tmp_path)])

    assert found == [str(tmp_path / name) for name in ("a.yaml", "b.yml", "sub/c.json")]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt")  # named outright, so whatever its ending

    assert find_files([str(file), str(tmp_path / "." / "a.txt")]) == [str(file)]


def test_a_path_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is no file or folder") as refused:
        find_files([str(tmp_path / "nothing")])

    assert refused.value.exit_code == USAGE


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        pytest.param(b"a: 1\nb: \xff\n", 2, "is not UTF-8 text", id="not text"),
        pytest.param(b"a: 1\nb: [\n", 3, "not valid YAML", id="not YAML"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), 0, "is larger than 32 MiB", id="too large"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_with_its_line(
    tmp_path: Path, content: bytes, line: int, message: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)

    (problem,) = FileSource([str(file)]).read().problems

    assert (problem.place.file, problem.place.line) == (str(file), line)
    assert message in problem.message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")

    (document,) = FileSource([str(file)]).read().documents

    assert document.node.plain() == {"a": 1}


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    same, other = write(tmp_path / "same.yaml"), write(tmp_path / "other.yaml")
    source = FileSource([str(tmp_path)])
    first = {document.file: document for document in source.read().documents}

    write(other, "a: 22\n")
    second = {document.file: document for document in source.read().documents}

    assert second[str(same)] is first[str(same)]
    assert second[str(other)].node.plain() == {"a": 22}


def test_the_stamps_tell_when_a_file_was_written_added_or_removed(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    source = FileSource([str(tmp_path)])
    stamps = [source.stamps()]

    write(tmp_path / "a.yaml", "a: 22\n")
    stamps.append(source.stamps())
    write(tmp_path / "b.yaml")
    stamps.append(source.stamps())
    (tmp_path / "b.yaml").unlink()
    stamps.append(source.stamps())

    assert stamps[0] != stamps[1] != stamps[2] != stamps[3] == stamps[1]
