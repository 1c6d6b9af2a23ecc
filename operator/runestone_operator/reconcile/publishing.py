"""The first pass: from a namespace's resources to the objects that its pods mount."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from runestone_contract.bundle import lines_by_identity
from runestone_operator.api.resource import ApiKey
from runestone_operator.collect.inputs import collect_inputs
from runestone_operator.collect.published import Lines
from runestone_operator.compiler.compile import Compiled, compile_namespace
from runestone_operator.compiler.inputs import Inputs
from runestone_operator.errors import KubeError, NamespaceGoneError, RefusedError
from runestone_operator.kinds import KEY
from runestone_operator.publish.client_key import create_client_key, needs_key
from runestone_operator.publish.parallel import for_each
from runestone_operator.publish.publisher import Publisher
from runestone_operator.reconcile.rotation import Rotation
from runestone_operator.reconcile.state import NamespaceState, World, generations_of

log = logging.getLogger(__name__)

MarkAll = Callable[[Iterable[str]], None]


class Publishing:
    """Tells `deliver`, `report` and `account` for which namespaces there is now something to do."""

    def __init__(
        self,
        world: World,
        rotation: Rotation,
        *,
        deliver: MarkAll,
        report: MarkAll,
        account: MarkAll,
    ) -> None:
        self._world = world
        self._publisher = Publisher(world.kube, world.cache, world.published, world.nats_users)
        self._rotation = rotation
        self._deliver = deliver
        self._report = report
        self._account = account

    async def run(self, namespace: str) -> float | None:
        try:
            return await self._serve(namespace)
        finally:
            self._account([namespace])

    async def _serve(self, namespace: str) -> float | None:
        if not self._world.is_served(namespace):
            self._forget(namespace)
            return None
        try:
            if self._world.cache.has_resources(namespace) or self._is_still_mounted(namespace):
                await self._publish(namespace)
            else:
                await self._retire(namespace)
        except NamespaceGoneError:
            self._forget(namespace)
        return self._rotation.again_s(namespace)

    def _forget(self, namespace: str) -> None:
        self._world.forget(namespace)
        self._rotation.forget(namespace)

    def _is_still_mounted(self, namespace: str) -> bool:
        """The last resource is gone, but sidecars run on: they must learn that nobody is let in.

        From files that vanish they would learn nothing, and keep what they have.
        """
        if not self._publisher.is_present(namespace):
            return False
        return bool(self._world.cache.running_pods(namespace))

    async def _retire(self, namespace: str) -> None:
        if self._publisher.is_present(namespace):
            await self._publisher.retire(namespace)
            log.info("configuration removed", extra={"namespace": namespace})
        self._forget(namespace)

    async def _publish(self, namespace: str) -> None:
        world = self._world
        previous = self._adopt(namespace)
        key_failure = await self._create_keys(namespace)
        rotation_failure = await self._rotation.run(namespace)
        coming = self._rotation.coming(namespace)
        inputs = collect_inputs(
            world.cache, namespace, previous, now_s=world.now_s(), coming=coming
        )
        started_s = time.monotonic()
        compiled, lines = await asyncio.to_thread(_compile, inputs)
        world.metrics.compile_duration.observe(time.monotonic() - started_s)
        state = NamespaceState(compiled, lines, generations_of(inputs), key_failure=key_failure)
        world.states[namespace] = state
        try:
            await self._write(namespace, state)
        except RefusedError as error:
            state.failure = error  # to be told in conditions, not only in a log
            raise
        finally:
            self._report([namespace])
        if failure := key_failure or rotation_failure:
            raise failure

    def _adopt(self, namespace: str) -> Lines:
        """What is in force. A bundle that another hand has broken does not count, as long as we
        remember a whole one."""
        world = self._world
        lines = world.published.lines(namespace)
        if namespace not in world.fleet and lines is not None:
            credentials = world.published.credentials(namespace)
            digest = world.published.digest(namespace) or ""
            world.fleet.adopt(namespace, digest, lines, credentials)
        rollout = world.fleet.rollout(namespace)
        if lines is None and rollout is not None:
            return rollout.lines
        return lines or {}

    async def _create_keys(self, namespace: str) -> KubeError | None:
        """A key that cannot be made (a quota) keeps its ApiKey out and no one else."""
        world = self._world
        views = world.cache.resources(KEY, namespace)
        keys = [view.resource for view in views if isinstance(view.resource, ApiKey)]

        async def create(key: ApiKey) -> None:
            await create_client_key(world.kube, world.cache, key, world.now_s())

        wanting = [key for key in keys if needs_key(key, world.cache)]
        try:
            await for_each(wanting, create)
        except RefusedError as error:
            return error
        if wanting:
            log.info("client keys made", extra={"namespace": namespace, "count": len(wanting)})
        return None

    async def _write(self, namespace: str, state: NamespaceState) -> None:
        world, bundle = self._world, state.compiled.bundle
        if bundle is None:
            problem = state.compiled.too_large
            log.error("too large", extra={"namespace": namespace, "error": problem})
            return
        before = world.fleet.rollout(namespace)
        was = None if before is None else (before.digest, before.credentials)
        written = await self._publisher.publish(namespace, bundle, state.compiled.credentials)
        credentials = world.published.credentials(namespace)
        if written:
            repaired = was == (bundle.digest, credentials)
            self._tell(namespace, bundle.digest, written=written, repaired=repaired)
        elsewhere = world.fleet.publish(
            namespace,
            bundle.digest,
            state.lines,
            credentials,
            pods=[pod.uid for pod in world.cache.running_pods(namespace)],
        )
        self._report(elsewhere)
        self._deliver([namespace])

    def _tell(self, namespace: str, digest: str, *, written: int, repaired: bool) -> None:
        metrics = self._world.metrics
        metrics.published.set_to_current_time()
        if repaired:
            metrics.repairs.inc()
        log.info(
            "published",
            extra={
                "namespace": namespace,
                "digest": digest[:12],
                "objects": written,
                "repaired": repaired,
            },
        )


def _compile(inputs: Inputs) -> tuple[Compiled, Lines]:
    compiled = compile_namespace(inputs)
    return compiled, lines_by_identity(compiled.bundle.files()) if compiled.bundle else {}
