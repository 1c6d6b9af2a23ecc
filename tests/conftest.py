"""Fixtures that tests of several packages share; what they are made of is in tests/support."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runestone_testing.kube import BUILD_VARIABLE, ApiServer, KubeToolsMissingError, find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(trylast=True)  # after -m and -k have taken out what will not run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Build the API server, where that is asked for, now: inside a test it would time out."""
    if os.environ.get(BUILD_VARIABLE) == "1" and any(i.get_closest_marker("kube") for i in items):
        find_programs()


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
