"""Tells a live watch from a dead one: changes an object of our own and listens for the echo.

A watch can hang with its connection open, and nothing else would show it: no news look like no
changes. So silence counts only after a change that the API server has confirmed. An API server
that cannot be reached proves nothing against us: a restart would not reach it either, and would
come back later from its crash back-off than we would by ourselves. Only after a long time without
any answer the fault may be ours (a stuck client, a stale token), and a restart is worth its price.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_contract.names import GROUP, MANAGED_BY, MANAGED_BY_LABEL
from runestone_operator.errors import KubeError, UnreachableError
from runestone_operator.kinds import CONFIG_MAP, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube

log = logging.getLogger(__name__)

NAME: Final = f"{MANAGED_BY}-canary"
ANNOTATION: Final = f"{GROUP}/canary"


@dataclass(frozen=True, slots=True)
class Patience:
    period_s: float
    silence_s: float
    outage_s: float


class Canary:
    def __init__(
        self, namespace: str, patience: Patience, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.namespace = namespace
        self.patience = patience
        self._clock = clock
        self._answered_s = self._heard_s = clock()
        self._heard_version = 0
        self._unheard: deque[tuple[int, float]] = deque()  # version, and when it was confirmed

    def sung(self, version: int) -> None:
        """The API server has confirmed a change."""
        self.answered()
        if version > self._heard_version:
            self._unheard.append((version, self._clock()))

    def answered(self) -> None:
        self._answered_s = self._clock()

    def is_it(self, kind: Kind, meta: Mapping[str, Any]) -> bool:
        return kind is CONFIG_MAP and (meta.get("namespace"), meta["name"]) == (
            self.namespace,
            NAME,
        )

    def heard(self, version: int) -> None:
        """The watch has shown the object as of this version."""
        self._heard_version = max(version, self._heard_version)
        self._heard_s = self._clock()
        while self._unheard and self._unheard[0][0] <= version:
            self._unheard.popleft()

    @property
    def age_s(self) -> float:
        return self._clock() - self._heard_s

    def complaint(self) -> str | None:
        """Why the process should be restarted, if it should."""
        now_s = self._clock()
        if self._unheard and now_s - self._unheard[0][1] > self.patience.silence_s:
            return "the watch does not show changes that were made"
        if now_s - self._answered_s > self.patience.outage_s:
            return "the API server has not answered for a long time"
        return None


async def sing(canary: Canary, kube: Kube, metrics: Metrics) -> None:
    """Until cancelled."""
    while True:
        await _sing_once(canary, kube)
        metrics.canary_age.set(canary.age_s)
        await asyncio.sleep(canary.patience.period_s)


async def _sing_once(canary: Canary, kube: Kube) -> None:
    manifest = {
        "metadata": {
            "namespace": canary.namespace,
            "name": NAME,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "annotations": {ANNOTATION: secrets.token_hex(8)},
        }
    }
    try:
        made = await kube.apply(CONFIG_MAP, manifest)
    except UnreachableError as error:
        log.warning("the API server does not answer", extra={"error": str(error)})
    except KubeError as error:
        if error.status != 401:
            canary.answered()
        log.error("the canary cannot be written", extra={"error": str(error)})
    else:
        canary.sung(int(made["metadata"]["resourceVersion"]))
