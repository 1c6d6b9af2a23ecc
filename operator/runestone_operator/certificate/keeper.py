"""Keeps the certificate in its Secret, in use and trusted. Every replica runs one; of two that
change the Secret at once, the API server lets one through, and the other reads what it wrote.

Level-triggered: each look compares what stands in the cluster with what should, so that a webhook
configuration that somebody reset is put right as well.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from runestone_operator.certificate.pair import Pair, make_pair, now_utc
from runestone_operator.certificate.serving import Serving
from runestone_operator.certificate.stored import Stored, parse_stored
from runestone_operator.errors import ConflictError, KubeError, NotFoundError
from runestone_operator.kinds import MUTATING, SECRET, VALIDATING, Kind
from runestone_operator.metrics import Metrics
from runestone_operator.publish.kube import Kube
from runestone_operator.settings import WebhookSettings

log = logging.getLogger(__name__)

SETTLE_LOOKS: Final = 2  # so many more before what was told is taken to be known everywhere


class Keeper:
    def __init__(
        self,
        kube: Kube,
        settings: WebhookSettings,
        namespace: str,
        serving: Serving,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._namespace = namespace
        self._serving = serving
        self._metrics = metrics
        self._clock = clock
        self._told = b""  # the bundle that stood in the configurations when last looked at
        self._told_looks = 0
        self._problem = ""

    @property
    def hosts(self) -> frozenset[str]:
        service = f"{self._settings.service}.{self._namespace}.svc"
        return frozenset({service, f"{service}.cluster.local", *self._settings.hosts})

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            problem = ""
            try:
                await self.look()
            except KubeError as error:
                problem = str(error)
            if problem != self._problem:
                if problem:
                    log.warning("webhook certificate not kept", extra={"problem": problem})
                self._problem = problem
            await asyncio.sleep(self._settings.check_s)

    async def look(self) -> None:
        stored = await self._usable(await self._read())
        self._use(stored)
        is_told = await self._tell(stored.bundle(self._clock()))
        await self._rotate(stored, is_told=is_told)

    async def _read(self) -> Stored | None:
        try:
            return parse_stored(
                await self._kube.read(SECRET, self._namespace, self._settings.secret)
            )
        except NotFoundError:
            return None

    async def _usable(self, stored: Stored | None) -> Stored:
        """What is there, or what has to take its place at once."""
        if stored is None:
            return await self._create()
        validity = stored.validity
        if validity is not None and not validity.is_over(self._clock()):
            return stored
        log.warning("webhook certificate unusable, made anew")
        return await self._write(replace(stored, current=self._make(), upcoming=None))

    async def _create(self) -> Stored:
        manifest = Stored(self._make()).manifest(self._namespace, self._settings.secret)
        manifest["data"] = {name: value for name, value in manifest["data"].items() if value}
        try:
            made = await self._kube.create(SECRET, manifest)
        except ConflictError:
            made = await self._kube.read(SECRET, self._namespace, self._settings.secret)
        else:
            log.info("webhook certificate made")
        return parse_stored(made)

    def _use(self, stored: Stored) -> None:
        validity = stored.validity
        if validity is not None and self._serving.load(stored.current.cert, stored.current.key):
            log.info("webhook certificate loaded", extra={"until": validity.until.isoformat()})
            self._metrics.certificate_expiry.set(validity.until.timestamp())

    async def _rotate(self, stored: Stored, *, is_told: bool) -> None:
        validity, now = stored.validity, self._clock()
        if stored.upcoming is not None:
            if is_told:
                log.info("webhook certificate rotated")
                await self._write(stored.promoted())
        elif validity is None or validity.is_due(now) or not self.hosts <= validity.hosts:
            await self._write(stored.announcing(self._make()))

    async def _write(self, stored: Stored) -> Stored:
        """Where another was faster, what that one wrote is met at the next look."""
        where = (self._namespace, self._settings.secret)
        try:
            made = await self._kube.patch(SECRET, *where, stored.manifest(*where))
            return parse_stored(made)
        except ConflictError:
            return await self._read() or stored

    def _make(self) -> Pair:
        return make_pair(sorted(self.hosts), now=self._clock(), life_s=self._settings.life_s)

    async def _tell(self, bundle: bytes) -> bool:
        """Whether the API servers have known this bundle for a while."""
        settings = self._settings
        stood = [
            await self._tell_one(MUTATING, settings.mutating, bundle),
            await self._tell_one(VALIDATING, settings.validating, bundle),
        ]
        known = all(stood) and bundle == self._told
        self._told, self._told_looks = bundle, self._told_looks + 1 if known else 0
        return self._told_looks >= SETTLE_LOOKS

    async def _tell_one(self, kind: Kind, name: str, bundle: bytes) -> bool:
        """Whether it stood there already. Where there is no such configuration, nobody calls us."""
        try:
            found = await self._kube.read(kind, None, name)
        except NotFoundError:
            return True
        wanted = base64.b64encode(bundle).decode()
        hooks = found.get("webhooks") or ()
        if all(_bundle_of(hook) == wanted for hook in hooks):
            return True
        told = [{"name": hook["name"], "clientConfig": {"caBundle": wanted}} for hook in hooks]
        await self._kube.apply(kind, {"metadata": {"name": name}, "webhooks": told})
        log.info("webhook configuration told whom to trust", extra={"configuration": name})
        return False


def _bundle_of(hook: Mapping[str, Any]) -> str:
    return str(hook.get("clientConfig", {}).get("caBundle") or "")
