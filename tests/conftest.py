"""Fixtures that tests of several packages share; what they are made of is in tests/support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.kube import ApiServer, KubeToolsMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
