"""The cluster that hack/e2e has brought up, and a namespace of it for each module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_testing.node import NoClusterError, Node

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def node() -> Node:
    try:
        return Node.from_environment()
    except NoClusterError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def namespace(node: Node, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    with node.namespace(name) as made:
        yield made
