"""The only door to the API server for everything but watches (those are Kopf's).

Speaks in plain manifests and raises our own errors; nothing of the client library gets past it.
Every write is either server-side apply as one field manager, which repeats without effect, or a
create that never replaces.
"""

import copy
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from runestone_contract.names import MANAGED_BY
from runestone_operator.errors import (
    KubeError,
    NotLeadingError,
    SettingsError,
    UnreachableError,
    kube_error,
)
from runestone_operator.kinds import Kind
from runestone_operator.metrics import Metrics

log = logging.getLogger(__name__)

TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
PARALLEL: Final = 16
PAGE: Final = 500
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Request:
    verb: str
    kind: Kind
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Manifest | None = None
    content_type: str = _JSON
    accept: str = _JSON

    @property
    def what(self) -> str:
        return f"{self.kind.name} {self.path.partition('/namespaces/')[2] or self.path}"


class Kube:
    def __init__(self, configuration: Configuration, metrics: Metrics) -> None:
        configuration.connection_pool_maxsize = PARALLEL
        self._api = ApiClient(configuration)
        self._metrics = metrics
        self._may_write: Callable[[], bool] = lambda: True

    @classmethod
    async def connect(cls, kubeconfig: str | None, metrics: Metrics) -> Self:
        """Reads where the API server is and who we are; makes no request."""
        # Else aiohttp asks a thread for the proxy of every request, which costs 4 ms of each.
        configuration = Configuration(client_session_kwargs={"trust_env": False})
        try:
            if kubeconfig:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    kubeconfig, client_configuration=configuration
                )
            else:
                load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
        except ConfigException as error:
            problem = "must be set where no service account is mounted"
            raise SettingsError("KUBECONFIG", problem) from error
        return cls(configuration, metrics)

    def fenced(self, may_write: Callable[[], bool]) -> Self:
        """The same door, with a guard who is asked before each write. Raises NotLeadingError."""
        fenced = copy.copy(self)
        fenced._may_write = may_write
        return fenced

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def read(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        return await self._ask(_Request("get", kind, "GET", kind.path(namespace, name)))

    async def apply(self, kind: Kind, manifest: Manifest, *, status: bool = False) -> Manifest:
        """Server-side apply: what the manifest says is so, whoever said otherwise before."""
        meta = manifest["metadata"]
        path = kind.path(meta.get("namespace"), meta["name"])
        return await self._ask(
            _Request(
                "apply",
                kind,
                "PATCH",
                f"{path}/status" if status else path,
                query=(("fieldManager", MANAGED_BY), ("force", "true")),
                body={"apiVersion": kind.api_version, "kind": kind.name} | manifest,
                content_type=_APPLY,
            )
        )

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Raises ConflictError where it exists."""
        return await self._ask(
            _Request(
                "create",
                kind,
                "POST",
                kind.path(manifest["metadata"]["namespace"]),
                query=(("fieldManager", MANAGED_BY),),
                body={"apiVersion": kind.api_version, "kind": kind.name} | manifest,
            )
        )

    async def annotate(
        self, kind: Kind, namespace: str, name: str, annotations: Mapping[str, str]
    ) -> Manifest:
        return await self._merge(
            "annotate", kind, kind.path(namespace, name), {"metadata": {"annotations": annotations}}
        )

    async def drop_data(
        self, kind: Kind, namespace: str, name: str, entries: Iterable[str]
    ) -> Manifest:
        """Take entries out of a ConfigMap or a Secret."""
        body = {"data": dict.fromkeys(entries)}
        return await self._merge("trim", kind, kind.path(namespace, name), body)

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Raises ConflictError where it names a version and that is not the newest."""
        return await self._merge("patch", kind, kind.path(namespace, name), patch)

    async def _merge(self, verb: str, kind: Kind, path: str, body: Manifest) -> Manifest:
        return await self._ask(
            _Request(
                verb,
                kind,
                "PATCH",
                path,
                query=(("fieldManager", MANAGED_BY),),
                body=body,
                content_type=_MERGE,
            )
        )

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, version: int | None = None
    ) -> None:
        """Raises ConflictError where it is not of that version any more."""
        body = {"preconditions": {"resourceVersion": str(version)}} if version else None
        await self._ask(_Request("delete", kind, "DELETE", kind.path(namespace, name), body=body))

    async def list_metadata(
        self, kind: Kind, *, namespace: str | None = None, selectors: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[Manifest]:
        """Page by page: lists of objects of which only the metadata is there."""
        query = [("limit", str(PAGE)), *selectors]
        token = ""
        while True:
            page = await self._ask(
                _Request(
                    "list",
                    kind,
                    "GET",
                    kind.path(namespace),
                    query=(*query, *([("continue", token)] if token else [])),
                    accept=_METADATA,
                )
            )
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows the kind: its CRD is installed."""
        root = kind.path().rpartition("/")[0]
        found = await self._ask(_Request("discover", kind, "GET", root))
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def _ask(self, request: _Request) -> Manifest:
        if request.method != "GET" and not self._may_write():
            raise NotLeadingError(request.verb, request.what)
        outcome = "success"
        try:
            return await self._send(request)
        except KubeError as error:
            outcome = str(error.status or "unreachable")
            raise
        finally:
            self._metrics.requests.labels(request.verb, request.kind.name, outcome).inc()

    async def _send(self, request: _Request) -> Manifest:
        headers = {"Accept": request.accept, "Content-Type": request.content_type}
        try:
            # The generated client would do the same and then build a model of every answer.
            parts = await self._api.param_serialize(
                request.method,
                request.path,
                query_params=list(request.query),
                header_params=headers,
                body=request.body,
                auth_settings=["BearerToken"],
            )
            response = await self._api.call_api(*parts, _request_timeout=TIMEOUT)
            body = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(
                verb=request.verb, what=request.what, status=None, reason=type(error).__name__
            ) from error
        answer = _parse(body)
        if response.status < 300:
            return answer
        raise _refusal(request, response.status, answer)


def _parse(body: bytes) -> Manifest:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _refusal(request: _Request, status: int, answer: Manifest) -> KubeError:
    causes = (answer.get("details") or {}).get("causes") or ()
    return kube_error(
        verb=request.verb,
        what=request.what,
        status=status,
        reason=str(answer.get("reason") or "Unknown"),
        causes=frozenset(str(cause.get("reason")) for cause in causes),
    )
