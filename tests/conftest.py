"""Fixtures that tests of several packages share; what they are made of is in tests/support."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from runestone_testing import canaries
from runestone_testing.kube import BUILD_VARIABLE, ApiServer, KubeToolsMissingError, find_programs
from runestone_testing.order import in_order

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


hypothesis.settings.register_profile("runestone", deadline=None)  # machines are slow at times
hypothesis.settings.load_profile("runestone")


@pytest.hookimpl(trylast=True)  # after -m and -k have taken out what will not run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Build the API server, where that is asked for, now: inside a test it would time out."""
    places = {file: place for place, file in enumerate(in_order(map(_file_of, items)))}
    items.sort(key=lambda item: places[_file_of(item)])
    if os.environ.get(BUILD_VARIABLE) == "1" and any(i.get_closest_marker("kube") for i in items):
        find_programs()


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test, whatever it tests, may make a planted secret appear in an output."""
    report = yield
    found = [
        f"{secret} in {name}"
        for name, text in report.sections
        for secret in canaries.found_in(text)
    ]
    folder: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
    if call.when == "teardown" and folder is not None and folder.is_dir():
        found += canaries.found_in_logs(folder)
    if found and report.passed:
        report.outcome = "failed"
        report.longrepr = f"planted secrets were put out: {', '.join(found)}"
    return report


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """The API server that the tests of one process share: use a namespace of your own."""
    with _started_apiserver() as server:
        yield server


@pytest.fixture
def own_apiserver() -> Iterator[ApiServer]:
    """An API server for one test alone, to stop, restart and fill as it likes."""
    with _started_apiserver() as server:
        yield server


def _started_apiserver() -> ApiServer:
    try:
        return ApiServer()
    except KubeToolsMissingError as error:  # a failure, not a skip: a skip would go unnoticed
        pytest.fail(str(error), pytrace=False)
