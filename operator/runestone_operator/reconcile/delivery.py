"""The second pass: wake the kubelets, and ask the sidecars until all run what was published."""

from typing import Final

from runestone_contract.names import CONFIG_ANNOTATION, CREDENTIALS_ANNOTATION
from runestone_operator.publish.sidecars import Sidecars, nudge, wake_again
from runestone_operator.reconcile.fleet import Rollout
from runestone_operator.reconcile.publishing import MarkAll
from runestone_operator.reconcile.rotation import Rotation
from runestone_operator.reconcile.state import World

FIRST_S: Final = 0.1
LAST_S: Final = 5.0
GROWTH: Final = 1.6
WAKE_AGAIN_EVERY: Final = 6  # rounds of asking: after 4 s, after half a minute, then twice a minute


class Delivery:
    def __init__(
        self,
        world: World,
        sidecars: Sidecars,
        rotation: Rotation,
        *,
        report: MarkAll,
        publish: MarkAll,
    ) -> None:
        self._world = world
        self._sidecars = sidecars
        self._rotation = rotation
        self._report = report
        self._publish = publish

    async def run(self, namespace: str) -> float | None:
        world = self._world
        rollout, state = world.fleet.rollout(namespace), world.states.get(namespace)
        if rollout is None or state is None:
            return None
        pods = world.cache.running_pods(namespace)
        await nudge(world.kube, world.cache, pods, _marks(rollout))
        reports = await self._sidecars.ask(pods)
        self._report(world.fleet.report(namespace, reports))
        if self._rotation.is_ready(namespace):
            self._publish([namespace])
        if rollout.is_settled:
            return None
        state.rounds += 1
        if state.rounds % WAKE_AGAIN_EVERY == 0:
            behind = [pod for pod in pods if pod.uid in rollout.behind]
            await wake_again(world.kube, world.cache, behind, world.now_s())
        return min(LAST_S, FIRST_S * GROWTH ** min(state.rounds, 32))


def _marks(rollout: Rollout) -> dict[str, str]:
    return {CONFIG_ANNOTATION: rollout.digest, CREDENTIALS_ANNOTATION: rollout.credentials}
