"""The clients of jobs' trials: what they send, over connections that may be gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runestone_testing import bundles
from runestone_testing.job_stand import question
from runestone_testing.job_webhooks import HEADER
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from runestone_testing.job_stand import JobStand
    from runestone_testing.wire import Answer

ANSWER_S = 30.0
GONE = (OSError, EOFError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Asked:
    """One submission, the same each time it is sent."""

    text: str
    idempotency_key: str | None = None
    webhook_url: str | None = None

    def render(self) -> bytes:
        body = json.dumps(question(self.text)).encode()
        lines = ["prefer: respond-async", "content-type: application/json"]
        if self.idempotency_key is not None:
            lines.append(f"idempotency-key: {self.idempotency_key}")
        if self.webhook_url is not None:
            lines.append(f"{HEADER}: {self.webhook_url}")
        return head("POST", "/v1/chat/completions", *lines, f"content-length: {len(body)}") + body


class Wires:
    """A client's connections to sidecars that may be gone."""

    def __init__(self, stand: JobStand) -> None:
        self._stand = stand
        self._kept: dict[int, Wire] = {}

    async def ask(self, number: int, request: bytes) -> Answer:
        """Raises one of GONE."""
        wire = self._kept.pop(number, None)
        if wire is None:
            wire = await Wire.connect(int(self._stand.sidecars[number].api.rpartition(":")[2]))
        try:
            wire.send(request)
            answer = await wire.answer(within_s=ANSWER_S)
        except BaseException:
            wire.writer.close()
            raise
        self._kept[number] = wire
        return answer

    async def close(self) -> None:
        for wire in self._kept.values():
            await wire.close()


def head(method: str, path: str, *more: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {bundles.CLIENT_KEY}")
    return "\r\n".join((*lines, *more, "", "")).encode()
