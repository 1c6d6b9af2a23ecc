"""A namespace's part of a NATS server, as sidecars leave it: to be attacked, and looked after."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nats.errors import Error

from runestone_contract.names import limits_bucket
from runestone_sidecar.overflow.names import Names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg

    from runestone_testing.nats_accounts import Guest

CANARY = "canary-of-another-namespace"
OWNER, JOB = "f" * 32, f"job_{'a' * 40}"
REPLY = "_INBOX.victim.reply"
GIVE_UP_S = 0.4  # for what should not come: too short can hide a success, never feign one


async def until(happened: Callable[[], Awaitable[object]], within_s: float = GIVE_UP_S) -> bool:
    deadline_s = time.monotonic() + within_s
    while not await happened():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.01)
    return True


async def asked(client: Guest, subject: str, body: object = None) -> dict[str, Any] | None:
    """What was answered, if it was no error. A refusal of the server is not waited for."""
    complaints, inbox = len(client.complaints), client.new_inbox()
    answers: list[bytes] = []

    async def on_answer(message: Msg) -> None:
        answers.append(message.data if "Status" not in (message.headers or {}) else b"")

    listening = await client.subscribe(inbox, cb=on_answer)
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    await client.publish(subject, data, reply=inbox)

    async def is_over() -> bool:
        return bool(answers) or len(client.complaints) > complaints

    await until(is_over)
    await listening.unsubscribe()
    try:
        answer = json.loads(answers[0]) if answers else None
    except ValueError:
        return {"data": answers[0].decode(errors="replace")} if answers[0] else None
    return answer if isinstance(answer, dict) and "error" not in answer else None


@dataclass
class Victim:
    namespace: str
    account: str
    client: Guest  # that may do everything there
    touched: bool = False  # by somebody else
    strange: list[str] = field(default_factory=list)  # subjects of what others have sent
    _as_left: object = None

    @property
    def names(self) -> Names:
        return Names(self.namespace)

    @property
    def bucket(self) -> str:
        return limits_bucket(self.namespace)

    @property
    def streams(self) -> tuple[str, str, str]:
        return self.names.queue, self.names.records, f"KV_{self.bucket}"

    @property
    def key(self) -> str:
        return f"$KV.{self.bucket}.shop/app"

    async def settle_in(self) -> None:
        """Its streams, with a message in each, and a consumer; what was there before is gone."""
        names = self.names
        for stream in await self.all_streams():
            await self.client.ask(f"$JS.API.STREAM.DELETE.{stream}")
        for name, subjects, more in (
            (names.queue, [names.work("*")], {"retention": "workqueue"}),
            (names.records, names.kept, {"allow_direct": True}),
            (self.streams[2], [f"$KV.{self.bucket}.>"], {"max_msgs_per_subject": 1}),
        ):
            config = {"name": name, "subjects": subjects, "storage": "file", **more}
            answer = await self.client.ask(f"$JS.API.STREAM.CREATE.{name}", config)
            assert "error" not in answer, answer
        consumer = {"durable_name": "w", "ack_policy": "explicit", "ack_wait": 3_600_000_000_000}
        await self.client.ask(
            f"$JS.API.CONSUMER.DURABLE.CREATE.{names.queue}.w",
            {"stream_name": names.queue, "config": consumer},
        )
        await self.work()
        await self.rest()

    async def listen(self) -> None:
        async def on_message(message: Msg) -> None:
            if CANARY not in message.data.decode(errors="replace") and self._is_ours(message):
                self.strange.append(message.subject)

        await self.client.subscribe(">", cb=on_message)
        await self.client.flush()

    def _is_ours(self, message: Msg) -> bool:
        return message.subject.startswith((f"runestone.{self.namespace}.", f"$KV.{self.bucket}."))

    async def work(self) -> None:
        """What its sidecars do: it can be heard by whoever may."""
        names, data = self.names, CANARY.encode()
        for subject in (names.work(OWNER), names.record(OWNER, JOB), self.key):
            await self.client.request(subject, data, timeout=5)
        await self.client.publish(names.wake, data)
        await self.client.publish(REPLY, data)
        await self.client.flush()

    async def stir(self) -> None:
        await self.look()
        await self.work()
        await self.rest()

    async def rest(self) -> None:
        self._as_left = await self._state()

    async def look(self) -> None:
        await self.client.flush()
        self.touched = self.touched or bool(self.strange) or await self._state() != self._as_left

    async def all_streams(self) -> list[str]:
        answer = await self.client.ask("$JS.API.STREAM.NAMES")
        return list(answer.get("streams") or [])

    async def _state(self) -> object:
        found: list[object] = []
        for stream in sorted(await self.all_streams()):
            info = await self.client.ask(f"$JS.API.STREAM.INFO.{stream}", {"subjects_filter": ">"})
            state = {k: v for k, v in info["state"].items() if not k.endswith("_ts")}
            consumers = await self.client.ask(f"$JS.API.CONSUMER.LIST.{stream}")
            waits = [
                (each["name"], each["num_pending"], each["delivered"], each["ack_floor"])
                for each in consumers["consumers"]
            ]
            found.append((info["config"], state, waits))
        return found


def holds_canary(answer: object) -> bool:
    """Of which messages are told in base64, too."""
    text = json.dumps(answer)
    encoded = base64.b64encode(CANARY.encode()).decode().rstrip("=")
    return CANARY in text or encoded[:-2] in text


async def raises_error(doing: Awaitable[object]) -> bool:
    try:
        await doing
    except (Error, TimeoutError):
        return True
    return False
