"""The CRDs on an API server, and what that says to a document, without keeping it."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from runestone_operator.api.crd import KINDS
from runestone_operator.api.resource import API_VERSION
from runestone_testing.kube import ApiServer

CRDS = Path(__file__).parents[3] / "crds"
PLURALS = {kind.name: kind.plural for kind in KINDS}


class Verdict(NamedTuple):
    """The object as it would be stored (201), or the refusal as a Status."""

    code: int
    body: dict[str, Any]


def install_crds(server: ApiServer) -> None:
    files = [argument for kind in KINDS for argument in ("-f", str(CRDS / kind.file_name))]
    for step in (
        ("apply", "--server-side", *files),
        ("wait", "--for=condition=Established", "--timeout=30s", *files),
    ):
        done = server.kubectl(*step)
        assert done.returncode == 0, done.stderr


class CustomResources:
    """One namespace, which must exist. It keeps a connection: `close` it."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.namespace = namespace
        self._token = server.admin_token
        tls = ssl.create_default_context(cafile=str(server.ca_file))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=30, context=tls
        )

    def try_create(self, document: dict[str, Any]) -> Verdict:
        plural = PLURALS[document["kind"]]
        metadata = {**document["metadata"], "namespace": self.namespace}
        try:
            return self._ask(plural, {**document, "metadata": metadata})
        except (OSError, http.client.HTTPException):  # a kept connection that was closed
            self._connection.close()
            return self._ask(plural, {**document, "metadata": metadata})

    def _ask(self, plural: str, document: dict[str, Any]) -> Verdict:
        self._connection.request(
            "POST",
            f"/apis/{API_VERSION}/namespaces/{self.namespace}/{plural}"
            "?dryRun=All&fieldValidation=Strict",
            body=json.dumps(document),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        answer = self._connection.getresponse()
        return Verdict(answer.status, json.load(answer))

    def close(self) -> None:
        self._connection.close()
