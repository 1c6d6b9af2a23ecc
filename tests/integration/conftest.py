"""A cluster for the operator's tests alone: its operators serve every namespace that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.kube import ApiServer, KubeToolsMissingError
from runestone_testing.operators import Cluster, OperatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        api = ApiServer()
    except KubeToolsMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with api, Cluster(api) as made:
        yield made


@pytest.fixture(scope="module")
def operator_env() -> dict[str, str]:
    """For a module to say otherwise."""
    return {}


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, operator_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """One that runs all through the module."""
    log = tmp_path_factory.mktemp("operator") / "log"
    with OperatorProcess(cluster, log, env=operator_env) as process:
        yield process.wait_until_ready()
        refused = [line for line in process.lines() if "(403)" in str(line)]
        assert refused == [], "the role does not suffice"


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    name = (
        request.node.originalname.removeprefix("test_").lower().replace("_", "-")[:50].rstrip("-")
    )
    return cluster.create_namespace(name)
