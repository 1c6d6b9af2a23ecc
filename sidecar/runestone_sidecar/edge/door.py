"""How many connections a server holds, and who goes when there are too many.

Below the limit of open files accepting always works, so that the next client gets an answer, if
only a 503; at that limit it would get none, nor would a provider be reached or a file be read.
"""

import logging
import resource
from collections.abc import Collection
from typing import Any, Final

from runestone_sidecar.edge.bounds import Bounds
from runestone_sidecar.telemetry.traffic import REFUSALS

MAX_CONNECTIONS: Final = 16_384
RESERVED_FILES: Final = 64  # listeners, configuration, probes, and those being turned away
TURNING_AWAY: Final = 16  # at a time: for more there is no waiting until they have read why
IDLE_ENOUGH_S: Final = 5.0  # for a connection to be closed where room is needed
TOLD_EVERY_S: Final = 10.0

log = logging.getLogger(__name__)


def connections_within(files: int, wanted: int = 0) -> int:
    """How many of `wanted`; without a wish, such that each may have a second one, to a provider."""
    free = files - RESERVED_FILES
    return max(1, min(wanted, free) if wanted else min(MAX_CONNECTIONS, free // 2))


def limit_of_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS * 4 if soft == resource.RLIM_INFINITY else soft


class Door:
    """One for a server. A visitor is a Protocol; uvicorn's set of them says less."""

    def __init__(self, bounds: Bounds, refused: dict[str, int] | None = None) -> None:
        self.bounds = bounds
        self.refused = dict.fromkeys(REFUSALS, 0) if refused is None else refused
        self.idle_enough_s = IDLE_ENOUGH_S
        self._told = 0
        self._told_s = float("-inf")
        self._made_room_s = float("-inf")

    def look(self, visitors: Collection[Any], now_s: float) -> None:
        """Sees to all of them, now and then."""
        for visitor in [*visitors]:
            visitor.look(now_s)
        turned_away = self.refused["full"]
        if turned_away != self._told and now_s - self._told_s >= TOLD_EVERY_S:
            log.warning(
                "%d connections were turned away: %d are open, and no more than %d may be",
                turned_away - self._told,
                len(visitors),
                self.bounds.connections,
            )
            self._told, self._told_s = turned_away, now_s

    def is_crowded(self, visitors: Collection[Any]) -> bool:
        """Whether those who are turned away are too many themselves."""
        return len(visitors) > self.bounds.connections + TURNING_AWAY

    def make_room(self, visitors: Collection[Any], now_s: float) -> None:
        """For those who come next, by closing what only waits for a request."""
        self.refused["full"] += 1
        if now_s - self._made_room_s >= self.bounds.look_every_s:
            self._made_room_s = now_s
            for visitor in [*visitors]:
                visitor.leave_if_idle(now_s - self.idle_enough_s)
