"""What hack/cluster knows without a cluster: names, pip's settings, sources, processes."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from cluster import images
from cluster.buildah import parse_pip_settings
from cluster.errors import ClusterError
from cluster.layout import REPOSITORY, layout_of
from cluster.process import NodeProcess, only_child
from runestone_testing.sidecar import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["", "A", "../up", "a/b", "-a", "a" * 43])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="no name for a cluster"):
        layout_of(name)


def test_a_folder_that_the_node_would_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNESTONE_CLUSTER_DIR", "/var/lib/clusters")

    with pytest.raises(ClusterError, match="would not see it"):
        layout_of("runestone")


def test_pip_is_told_what_the_environment_says_over_files() -> None:
    listed = [
        ":env:.timeout='60'",
        "global.timeout='15'",
        "global.cert='/etc/ssl/it''s'",
        "install.find-links='/wheels'",
        "list.format='json'",
    ]

    assert parse_pip_settings(listed) == {
        "timeout": "60",
        "cert": "/etc/ssl/its",
        "find-links": "/wheels",
    }


def test_images_are_known_by_all_that_a_dockerfile_copies() -> None:
    known = {path for pattern in images.SOURCES for path in REPOSITORY.glob(pattern)}
    copied = {
        word
        for dockerfile in REPOSITORY.glob("Dockerfile.*")
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    files = {
        path
        for name in copied
        for path in ([REPOSITORY / name, *(REPOSITORY / name).rglob("*")])
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    }

    assert len(files) > 100
    assert {str(path) for path in files - known} == set()


def test_a_process_is_not_taken_for_the_next_of_its_number(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert only_child(os.getpid()) is not None
        found = NodeProcess.of(child.pid)
        found.record(tmp_path / "pid")
        assert NodeProcess.recorded_in(tmp_path / "pid") == found
        assert found.is_running
        assert not NodeProcess(child.pid, "1", found.boot).is_running
        assert not NodeProcess(child.pid, found.began_ticks, "another boot").is_running
    finally:
        child.kill()
        wait_until("it is a zombie", lambda: not found.is_running)
        child.wait()
    assert not found.is_running


@pytest.mark.parametrize("text", ["", "12", "a b c d", "x 1 boot"])
def test_a_record_that_was_cut_off_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)

    assert NodeProcess.recorded_in(tmp_path / "pid") is None
