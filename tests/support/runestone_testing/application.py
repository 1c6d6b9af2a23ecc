"""An application beside its sidecar that asks without a pause, and keeps what became of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_testing.sidecar import Sidecar


@dataclass
class Application:
    """Asks without a pause, with the key that it finds each time."""

    sidecar: Sidecar
    find_key: Callable[[], str]
    answers: list[tuple[float, int]] = field(default_factory=list)  # when it was sent, status
    keys: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Application:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
        with httpx.Client(base_url=self.sidecar.base_url, trust_env=False, timeout=30) as client:
            while not self._over.wait(0.005):
                key = self.find_key()
                self.keys.add(key)
                sent_s = time.time()
                headers = {"Authorization": f"Bearer {key}"}
                answer = client.post("/chat/completions", json=body, headers=headers)
                self.answers.append((sent_s, answer.status_code))

    def outcomes(self, since_s: float = 0, until_s: float = float("inf")) -> Counter[int]:
        return Counter(status for sent_s, status in self.answers if since_s <= sent_s < until_s)
