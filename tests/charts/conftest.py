"""Helm is built, where that is asked for, before the first test: inside one it would time out."""

from __future__ import annotations

import os

import pytest

from runestone_testing.charts import find_helm
from runestone_testing.kube import BUILD_VARIABLE, KubeToolsMissingError


@pytest.hookimpl(trylast=True)  # after -m and -k have taken out what will not run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(BUILD_VARIABLE) == "1" and any(
        item.path.parent.name == "charts" for item in items
    ):
        find_helm()


@pytest.fixture(autouse=True, scope="session")
def helm_is_there() -> None:
    try:
        find_helm()
    except KubeToolsMissingError as error:  # a failure, not a skip: a skip would go unnoticed
        pytest.fail(str(error), pytrace=False)
