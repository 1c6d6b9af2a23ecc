"""Whether nats-server syncs what it acknowledges: without, a machine that fails takes jobs with it.

Only the server's monitoring port tells, so it has to be named; of several servers all must.
"""

import asyncio
import json
import logging
import math
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

LOOK_EVERY_S: Final = 30.0
ANSWER_S: Final = 5.0
LARGEST_BYTES: Final = 1 << 20

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Monitor:
    urls: tuple[str, ...]
    every_s: float = LOOK_EVERY_S
    syncs: bool | None = None  # None: it is not known
    _told: str | None = None

    def durable(self) -> float:
        """As a metric."""
        return math.nan if self.syncs is None else self.syncs

    async def run(self) -> None:
        """Until cancelled."""
        if not self.urls:
            return  # it is not known, and no metric says that it does
        while True:
            found = [await asyncio.to_thread(_syncs, url) for url in self.urls]
            if False in found:
                self.syncs = False
                self._tell("NATS acknowledges what it has not synced: set sync_interval: always")
            elif None not in found:
                self.syncs, self._told = True, None
            else:  # it may be away: what was found before still stands
                self._tell("the monitoring port of NATS does not tell whether it syncs")
            await asyncio.sleep(self.every_s)

    def _tell(self, text: str) -> None:
        """Once, however often it is looked at."""
        if text != self._told:
            self._told = text
            log.warning("%s", text)


def _syncs(url: str) -> bool | None:
    """None: it does not say."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/varz", timeout=ANSWER_S) as answer:
            found: dict[str, Any] = json.loads(answer.read(LARGEST_BYTES))
        config = found["jetstream"]["config"]
        return bool(config.get("sync_always", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
