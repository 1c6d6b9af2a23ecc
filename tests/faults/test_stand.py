"""The stand's own checks find what they are for."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.sidecar import ROOT
from runestone_testing.stand import FINE, Stand, standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_what_is_in_order_passes(stand: Stand) -> None:
    assert (await stand.chat()).status_code == 200
    stand.refused(await stand.chat(n=-1), 400, param="n")
    assert [line["status"] for line in stand.lines()] == [200, 400]


async def test_a_broken_provider_is_put_in_order_for_the_next_request(stand: Stand) -> None:
    stand.provider.answer = [FINE[:70], scripts.reset()]
    stand.refused(await stand.chat(), 502)


def log_the_prompt(stand: Stand) -> None:
    root = logging.getLogger()
    pytests = [handler for handler in root.handlers if handler is not stand.outputs]
    for handler in pytests:  # they would tell the search after every test
        root.removeHandler(handler)
    logging.getLogger("runestone_sidecar.x").debug("body: %s", canaries.PROMPT)
    for handler in pytests:
        root.addHandler(handler)


def print_the_key(stand: Stand) -> None:
    stand.gateway.parts.lines.write({"status": 200, "key": bundles.PROVIDER_KEY})


def fail_inside(stand: Stand) -> None:
    stand.gateway.parts.lines.write({"status": 500})


def keep_a_file(stand: Stand) -> None:
    os.open("/dev/null", os.O_RDONLY)


def keep_a_slot(stand: Stand) -> None:
    stand.gateway.parts.traffic.in_flight += 1


def keep_a_task(stand: Stand) -> None:
    stand.task = asyncio.create_task(asyncio.sleep(60))  # type: ignore[attr-defined]


def count_the_prompt(stand: Stand) -> None:
    stand.gateway.parts.traffic.attempts[canaries.PROMPT, "ok"] += 1


def expect_what_is_not(stand: Stand) -> None:
    stand.next_status = 429


@pytest.mark.parametrize(
    ("do", "complaint"),
    [
        pytest.param(log_the_prompt, "prompt", id="prompt-in-the-log"),
        pytest.param(print_the_key, "provider key", id="key-in-the-access-log"),
        pytest.param(fail_inside, "500", id="internal-error"),
        pytest.param(keep_a_file, "files", id="file-left"),
        pytest.param(keep_a_slot, "requests in flight", id="slot-left"),
        pytest.param(keep_a_task, "tasks", id="task-left"),
        pytest.param(count_the_prompt, "/metrics", id="prompt-in-the-metrics"),
        pytest.param(expect_what_is_not, "the next request", id="next-request"),
    ],
)
async def test_what_is_not_in_order_is_found(
    tmp_path: Path, do: Callable[[Stand], None], complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        async with standing(tmp_path, settle_s=0.05) as stand:
            await stand.chat()
            do(stand)


def test_a_secret_in_the_output_of_any_test_fails_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import logging\n"
        "from runestone_testing import bundles\n"
        "def test_print(): print(bundles.CLIENT_KEY)\n"
        "def test_log(): logging.warning(bundles.PROVIDER_KEY)\n"
        "def test_file(tmp_path): (tmp_path / 'sidecar-1.log').write_text(bundles.CLIENT_KEY)\n"
        "def test_neither(): print('nothing')\n"
    )
    paths = ("tests", "tests/support", "sidecar", "operator")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-rA", "--rootdir", tmp_path, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(f"{ROOT / path}" for path in paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    for line in (
        "FAILED test_it.py::test_print",
        "FAILED test_it.py::test_log",
        "ERROR test_it.py::test_file",
        "PASSED test_it.py::test_neither",
    ):
        assert line in ended.stdout, ended.stdout
