"""The operator as a child process under its own role, and the cluster that it works on.

What should come of it is computed here by the compiler alone, from what the API server holds: the
operator's own way of collecting and writing takes no part.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import httpx

from runestone_contract.names import (
    NATS_CREDENTIALS,
    NATS_SECRET,
    OVERFLOW_KEY_ENTRY,
    OVERFLOW_KEY_SECRET,
)
from runestone_operator.api.load import Rejected, parse
from runestone_operator.api.resource import ApiKey, ProviderPool, RoutingPolicy
from runestone_operator.collect.history import parse_history, retired_hashes
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import Inputs, fact_of
from runestone_testing.child_process import ChildProcess
from runestone_testing.kube import OPERATOR, ApiServer, User
from runestone_testing.resources import key, policy, pool, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runestone_contract.config import KeyHash

ROOT: Final = Path(__file__).resolve().parents[3]
SYSTEM: Final = "runestone-system"
GROUP: Final = "/apis/runestone.dev/v1alpha1"
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
KINDS: Final = {
    "ProviderPool": f"{GROUP}/providerpools",
    "ApiKey": f"{GROUP}/apikeys",
    "RoutingPolicy": f"{GROUP}/routingpolicies",
    "Secret": "/api/v1/secrets",
    "ConfigMap": "/api/v1/configmaps",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
    "Event": "/apis/events.k8s.io/v1/events",
    "MutatingWebhookConfiguration": f"{ADMISSION}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"{ADMISSION}/validatingwebhookconfigurations",
}
MANAGED: Final = "app.kubernetes.io/managed-by=runestone-operator"
T = TypeVar("T")
Document = dict[str, Any]


class DidNotHappenError(AssertionError):
    pass


def eventually(
    what: str, happened: Callable[[], T | None], *, within_s: float = 60, every_s: float = 0.05
) -> T:
    """The first true value; polls, and never sleeps for luck."""
    deadline_s = time.monotonic() + within_s
    while not (value := happened()):
        if time.monotonic() > deadline_s:
            raise DidNotHappenError(f"not within {within_s} s: {what}")
        time.sleep(every_s)
    return value


class Cluster:
    """An API server with the CRDs and the operator's role, used as its administrator."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.client = httpx.Client(
            base_url=api.url,
            verify=ssl.create_default_context(cafile=str(api.ca_file)),
            headers={"Authorization": f"Bearer {api.admin_token}"},
            timeout=30,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        self.create_namespace(SYSTEM)
        for folder in (ROOT / "crds", ROOT / "hack" / "rbac"):
            done = self.api.kubectl("apply", "-f", str(folder))
            assert done.returncode == 0, done.stderr
        for kind in ("ProviderPool", "ApiKey", "RoutingPolicy"):
            eventually(f"{kind} is served", lambda kind=kind: self._is_served(kind))  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _is_served(self, kind: str) -> bool:
        return self.client.get(KINDS[kind]).status_code == 200

    def create_namespace(self, name: str, **labels: str) -> str:
        self.apply({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return name

    def apply(self, document: Document, *, subresource: str = "") -> Document:
        """As a user's `kubectl apply --server-side` does."""
        kind, meta = document["kind"], document["metadata"]
        path = self.path(kind, meta.get("namespace"), meta["name"]) + subresource
        version = KINDS[kind].removeprefix("/apis/").removeprefix("/api/").rpartition("/")[0]
        return self._ask(
            "PATCH",
            path,
            params={"fieldManager": "user", "force": "true"},
            content=json.dumps({"apiVersion": version} | document),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def patch(self, kind: str, namespace: str | None, name: str, patch: Document) -> Document:
        """As a user's `kubectl edit` does."""
        return self._ask(
            "PATCH",
            self.path(kind, namespace, name),
            content=json.dumps(patch),
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def get(self, kind: str, namespace: str | None, name: str) -> Document | None:
        answer = self.client.get(self.path(kind, namespace, name))
        return None if answer.status_code == 404 else _checked(answer)

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Document]:
        params = {"labelSelector": selector} if selector else {}
        items: list[Document] = self._ask("GET", self.path(kind, namespace), params=params)["items"]
        return items

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        self.client.delete(self.path(kind, namespace, name))

    def path(self, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        root, _, plural = KINDS[kind].rpartition("/")
        inside = f"/namespaces/{namespace}" if namespace and kind != "Namespace" else ""
        return f"{root}{inside}/{plural}" + (f"/{name}" if name else "")

    def _ask(self, method: str, path: str, **kwargs: Any) -> Document:
        def answered() -> httpx.Response | None:
            answer = self.client.request(method, path, **kwargs)
            return None if answer.status_code == 429 else answer  # it has only just started

        return _checked(eventually("the API server is willing", answered))

    def conditions(self, kind: str, namespace: str, name: str) -> dict[str, Document]:
        found = self.get(kind, namespace, name) or {}
        return {item["type"]: item for item in found.get("status", {}).get("conditions", ())}

    def files(self, namespace: str) -> dict[str, str]:
        """The bundle as it is published."""
        return {
            file: text
            for item in self.list("ConfigMap", namespace, MANAGED)
            for file, text in (item.get("data") or {}).items()
        }

    def compiled(self, namespace: str) -> Compiled:
        """What the resources that there are compile to, with nothing in force before."""
        return compile_namespace(self._inputs(namespace))

    def expected_files(self, namespace: str) -> dict[str, str]:
        bundle = self.compiled(namespace).bundle
        assert bundle is not None
        return {name: data.decode() for name, data in bundle.files().items()}

    def expected_credentials(self, namespace: str) -> dict[str, bytes]:
        sources = self.compiled(namespace).credentials
        own = self.secret_values(namespace, OVERFLOW_KEY_SECRET)
        own |= self.secret_values(namespace, NATS_SECRET)
        return {
            entry: self.secret_values(source.namespace, source.name)[source.key].strip()
            for entry, source in sources.items()
        } | {entry: value.strip() for entry, value in own.items()}

    def secret_values(self, namespace: str, name: str) -> dict[str, bytes]:
        secret = self.get("Secret", namespace, name) or {}
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    def credentials(self, namespace: str) -> set[bytes]:
        """Values of providers that are published there."""
        published = self.secret_values(namespace, "runestone-credentials")
        own = (OVERFLOW_KEY_ENTRY, NATS_CREDENTIALS)
        return {value for entry, value in published.items() if entry not in own}

    def is_without_keys(self, namespace: str) -> bool:
        files = self.files(namespace)
        return bool(files) and '"kind":"key"' not in "".join(files.values())

    def is_published(self, namespace: str) -> bool:
        return self.files(namespace) == self.expected_files(namespace) and self.secret_values(
            namespace, "runestone-credentials"
        ) == self.expected_credentials(namespace)

    def versions(self, namespace: str) -> dict[str, str]:
        """Of everything that an operator may write there: equal while nothing is written."""
        return {
            f"{kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for kind in ("ProviderPool", "ApiKey", "RoutingPolicy", "Secret", "ConfigMap", "Pod")
            for item in self.list(kind, namespace)
        }

    def quiet_versions(self, namespace: str, *, for_s: float = 1.0) -> dict[str, str]:
        """Once nothing has been written for a while."""
        seen: dict[str, str] = {}
        since_s = time.monotonic()

        def is_quiet() -> bool:
            nonlocal seen, since_s
            if (now := self.versions(namespace)) != seen:
                seen, since_s = now, time.monotonic()
            return time.monotonic() - since_s > for_s

        eventually(f"nothing is written in {namespace}", is_quiet)
        return seen

    def _inputs(self, namespace: str) -> Inputs:
        place = self.get("Namespace", None, namespace)
        assert place is not None
        parsed = [parse(item) for kind in list(KINDS)[:3] for item in self._documents(kind)]
        local = [item for item in parsed if item.meta and item.meta.namespace == namespace]
        secrets = self.list("Secret")
        return Inputs(
            namespace=namespace,
            namespace_labels=place["metadata"].get("labels", {}),
            pools=[item for item in parsed if isinstance(item, ProviderPool)],
            keys=[item for item in local if isinstance(item, ApiKey)],
            policies=[item for item in local if isinstance(item, RoutingPolicy)],
            secrets={
                (item["metadata"]["namespace"], item["metadata"]["name"]): {
                    key: fact_of(base64.b64decode(value))
                    for key, value in (item.get("data") or {}).items()
                }
                for item in secrets
            },
            beside=dict(
                _retired(
                    item["metadata"]
                    for item in secrets
                    if item["metadata"]["namespace"] == namespace
                )
            ),
            unparsed=[item for item in local if isinstance(item, Rejected)],
        )

    def _documents(self, kind: str) -> Iterator[Document]:
        for item in self.list(kind):
            yield {"apiVersion": "runestone.dev/v1alpha1", "kind": kind} | item


def _checked(answer: httpx.Response) -> Document:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    body: Document = answer.json()
    return body


def _retired(metas: Iterable[Document]) -> Iterator[tuple[str, tuple[KeyHash, ...]]]:
    for meta in metas:
        hashes = tuple(retired_hashes(parse_history(meta), time.time()))
        if hashes and meta["name"].endswith("-api-key"):
            yield meta["name"].removesuffix("-api-key"), hashes


def fill(cluster: Cluster, namespace: str) -> None:
    for document in (secret(namespace), pool(namespace), policy(namespace), key(namespace)):
        cluster.apply(document)


def is_programmed(cluster: Cluster, namespace: str) -> bool:
    return all(
        cluster.conditions(kind, namespace, name).get("Programmed", {}).get("status") == "True"
        for kind, name in (
            ("ProviderPool", "pool"),
            ("ApiKey", "client"),
            ("RoutingPolicy", "policy"),
        )
    )


def settled(cluster: Cluster, namespace: str, *, within_s: float = 60) -> None:
    eventually("published", lambda: cluster.is_published(namespace), within_s=within_s)
    eventually("programmed", lambda: is_programmed(cluster, namespace), within_s=within_s)


class OperatorProcess:
    """`python -m runestone_operator`, as the user that its role is bound to."""

    def __init__(
        self,
        cluster: Cluster,
        log: Path,
        *,
        user: User = OPERATOR,
        env: Mapping[str, str] | None = None,
    ) -> None:
        kubeconfig = cluster.api.kubeconfig(token=cluster.api.token_for(user))
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "RUNESTONE_NAMESPACE": SYSTEM,
            "HOST": "127.0.0.1",
            "PORT": "0",
        } | dict(env or {})
        self.log = log
        assignments = [f"{name}={value}" for name, value in settings.items()]
        program = [sys.executable, "-m", "runestone_operator"]
        self.process = ChildProcess(["/usr/bin/env", *assignments, *program], log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def wait_until_ready(self) -> Self:
        self.process.wait_until(lambda: self.answers("/readyz"), timeout_s=30)
        return self

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(by)

    @property
    def port(self) -> int | None:
        started = next((line for line in self.lines() if line.get("message") == "started"), None)
        return None if started is None else int(started["port"])

    def answers(self, path: str) -> bool:
        try:
            return self.read(path) is not None
        except OSError:
            return False

    def read(self, path: str) -> str | None:
        """Raises OSError where the answer is not 200."""
        if self.port is None:
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def metric(self, name: str) -> float:
        """A sample of /metrics, given with its labels as they are written there."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.read("/metrics") or "", re.M)
        return float(found[1]) if found else 0.0

    def lines(self) -> list[Document]:
        """Of the log, so far; what is no JSON fails here."""
        text = self.log.read_text() if self.log.exists() else ""
        whole = text.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line]
