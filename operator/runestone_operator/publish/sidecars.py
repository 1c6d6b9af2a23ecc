"""Asks sidecars which configuration they run, and wakes the kubelets that should refresh them.

kubelet looks at mounted ConfigMaps once a minute or so, and at once when the pod changes: an
annotation with the digest is such a change. The credentials have a mark of their own: they come
from another object, and change when the configuration does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import httpx

from runestone_contract.names import GROUP
from runestone_operator.api.scalars import Timestamp
from runestone_operator.collect.cache import Cache
from runestone_operator.collect.views import PodView, build_view
from runestone_operator.errors import NotFoundError
from runestone_operator.kinds import POD
from runestone_operator.publish.kube import Kube
from runestone_operator.publish.parallel import for_each

TIMEOUT_S: Final = 2.0
PARALLEL: Final = 32
ANSWER_LIMIT_BYTES: Final = 4096
DIGEST_LENGTH: Final = 64
WOKEN_ANNOTATION: Final = f"{GROUP}/woken-at"  # on a pod that was woken once more


@dataclass(frozen=True, slots=True)
class Report:
    """What one sidecar says it runs."""

    digest: str
    credentials: str
    refuses: bool = False  # what is newer: its /health/config says why


class Sidecars:
    def __init__(self, port: int) -> None:
        self._port = port
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, pods: Sequence[PodView]) -> dict[str, Report | None]:
        """By the pods' uids; None from whom no sensible answer came."""
        reports: dict[str, Report | None] = {}

        async def ask_one(pod: PodView) -> None:
            reports[pod.uid] = await self._ask(pod.ip) if pod.ip else None

        await for_each(pods, ask_one, limit=PARALLEL)
        return reports

    async def _ask(self, ip: str) -> Report | None:
        host = f"[{ip}]" if ":" in ip else ip
        try:
            async with self._client.stream(
                "GET", f"http://{host}:{self._port}/health/config"
            ) as response:
                body = await _bounded_body(response)
            return _parse_report(response.status_code, body)
        except httpx.HTTPError:
            return None


async def _bounded_body(response: httpx.Response) -> bytes:
    """Whatever runs on that port: it gets no more of our memory."""
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_LIMIT_BYTES:
            return b""
    return body


def _parse_report(status: int, body: bytes) -> Report | None:
    try:
        said = httpx.Response(status, content=body).json() if status == 200 else None
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    digest, credentials = said.get("digest"), said.get("credentials")
    if not isinstance(digest, str) or len(digest) > DIGEST_LENGTH:
        return None
    refuses = isinstance(said.get("refused"), str)
    return Report(digest, credentials if isinstance(credentials, str) else "", refuses)


async def nudge(
    kube: Kube, cache: Cache, pods: Sequence[PodView], marks: Mapping[str, str]
) -> None:
    """Have these pods refreshed, unless that was done for these marks."""
    await _annotate(kube, cache, [pod for pod in pods if pod.marks != marks], marks)


async def wake_again(kube: Kube, cache: Cache, pods: Sequence[PodView], now_s: float) -> None:
    """kubelet hears of a pod and of what it mounts by different watches: it may have looked at the
    mark before it knew what was written, and then looks again in a minute at the earliest."""
    woken_at = Timestamp.of_epoch_s(int(now_s))
    await _annotate(kube, cache, pods, {WOKEN_ANNOTATION: woken_at})


async def _annotate(
    kube: Kube, cache: Cache, pods: Sequence[PodView], annotations: Mapping[str, str]
) -> None:
    async def annotate_one(pod: PodView) -> None:
        try:
            made = await kube.annotate(POD, pod.namespace, pod.name, annotations)
        except NotFoundError:
            return  # it has ended
        cache.put(build_view(POD, made))

    await for_each(pods, annotate_one)
