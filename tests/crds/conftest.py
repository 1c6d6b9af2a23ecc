"""The CRDs on the shared API server, with a namespace for these tests alone."""

import contextlib
from collections.abc import Iterator

import pytest

from runestone_testing.custom_resources import CustomResources, install_crds
from runestone_testing.kube import ApiServer

NAMESPACE = "crd-documents"


@pytest.fixture(scope="session")
def crd_server(apiserver: ApiServer) -> ApiServer:
    install_crds(apiserver)
    return apiserver


@pytest.fixture(scope="session")
def api(crd_server: ApiServer) -> Iterator[CustomResources]:
    made = crd_server.kubectl("create", "namespace", NAMESPACE)
    assert made.returncode == 0, made.stderr
    with contextlib.closing(CustomResources(crd_server, NAMESPACE)) as resources:
        yield resources
