"""Active health checks: asks a provider for its model list now and then, which costs nothing.

Only where the provider is configured so. What comes of it is written down like the outcome of a
request, but for what says nothing of how requests would fare.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from runestone_contract.config import HealthCheck
from runestone_sidecar.admit.load import LoadStore
from runestone_sidecar.config.snapshot import Provider, Snapshot
from runestone_sidecar.pipeline.failure import AttemptFailed, of_fault, of_refusal
from runestone_sidecar.pipeline.outcomes import Outcomes, Turn
from runestone_sidecar.pipeline.verdicts import OTHER_4XX, Verdict
from runestone_sidecar.telemetry.traffic import Traffic
from runestone_sidecar.upstream import faults
from runestone_sidecar.upstream.origin import Deadlines
from runestone_sidecar.upstream.pool import Client
from runestone_sidecar.upstream.response import Response

DEADLINES: Final = Deadlines(connect_s=3.0, first_byte_s=3.0, idle_s=3.0, total_s=5.0)
JITTER: Final = 0.1  # of the interval, to either side: replicas are not to ask in step
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024  # more is not read; a router lists hundreds of models
_NO_MODEL: Final = ""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watch:
    check: HealthCheck
    task: asyncio.Task[None]


class HealthChecks:
    def __init__(
        self,
        client: Client,
        load: LoadStore,
        traffic: Traffic,
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._load = load
        self._outcomes = Outcomes(load, traffic)
        self._traffic = traffic
        self._random = rng
        self._sleep = sleep
        self._wanted: dict[str, Provider] = {}
        self._changed = asyncio.Event()

    def follow(self, snapshot: Snapshot) -> None:
        self._wanted = {
            provider.id: provider
            for provider in snapshot.providers()
            if provider.health_check.mode == "Active" and provider.unavailable is None
        }
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled: one task for each provider that is to be checked."""
        watches: dict[str, _Watch] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wanted = self._wanted
                for id_ in [
                    id_ for id_, watch in watches.items() if _is_over(watch, wanted.get(id_))
                ]:
                    watches.pop(id_).task.cancel()
                for id_, provider in wanted.items():
                    if id_ not in watches:
                        task = group.create_task(self._watch(id_))
                        watches[id_] = _Watch(provider.health_check, task)
                await self._changed.wait()

    async def _watch(self, provider_id: str) -> None:
        interval_s = self._wanted[provider_id].health_check.interval_ms / 1000
        await self._sleep(self._random.uniform(0, interval_s))
        while (provider := self._wanted.get(provider_id)) is not None:
            try:
                await self.check(provider)
            except Exception:  # it must not end the checks of the others
                log.exception("provider %s: the health check failed inside", provider_id)
            await self._sleep(interval_s * self._random.uniform(1 - JITTER, 1 + JITTER))

    async def check(self, provider: Provider) -> None:
        """Once, with one credential after another while they are refused."""
        load = self._load.of(provider.id)
        turn = Turn(load)
        if not load.breaker.closed:
            turn.probe = self._outcomes.probe(provider, load)
            if turn.probe is None:
                return  # not yet, or a request is finding out
        try:
            while self._outcomes.next_credential(provider, turn, _NO_MODEL):
                outcome = await self._once(provider, turn)
                self._traffic.health_checks[provider.id, outcome.name] += 1
                if not outcome.refused:
                    return
        finally:
            turn.leave()

    async def _once(self, provider: Provider, turn: Turn) -> "_Outcome":
        try:
            await self._ask(provider, turn.credential)
        except AttemptFailed as failure:
            self._outcomes.failed(
                provider, turn, failure.row, model=_NO_MODEL, wait_s=failure.wait_s
            )
            return _Outcome(failure.outcome, refused=failure.row.verdict is Verdict.CREDENTIAL)
        if turn.probe is not None:  # else requests tell more: a list is not an answer
            self._outcomes.succeeded(provider, turn, _NO_MODEL)
        return _Outcome("ok", refused=False)

    async def _ask(self, provider: Provider, credential: int) -> None:
        """Raises AttemptFailed."""
        assert provider.dialect is not None  # it is available
        try:
            response = await self._client.send(
                provider.origin,
                method=b"GET",
                target=provider.base_path + provider.dialect.models_path,
                headers=provider.heads[credential] + provider.dialect.version,
                body=b"",
                deadlines=DEADLINES,
            )
            try:
                said = await _read(response)
            finally:
                response.close()
        except faults.UpstreamFault as fault:
            raise of_fault(fault, DEADLINES, DEADLINES) from fault
        if response.status == 200:
            return
        failure = of_refusal(response, provider.dialect.read_error(response.status, said))
        row = failure.row
        if row.verdict in {Verdict.LIMITED, Verdict.PROVIDER}:
            failure.row = OTHER_4XX  # it has no list, or not for so many: it is there
        raise failure


@dataclass(slots=True)
class _Outcome:
    name: str
    refused: bool


async def _read(response: Response) -> bytes:
    """To its end where it is not too long, so that the connection can be kept."""
    try:
        return await response.read(MAX_ANSWER_BYTES)
    except faults.BodyTooLarge:
        return b""


def _is_over(watch: _Watch, provider: Provider | None) -> bool:
    return provider is None or provider.health_check != watch.check
