"""Two namespaces with two sidecars each at one nats-server, as the operator lets them in.

What differs between the two is what must: names of keys, secrets, jobs and idempotency keys are all
the same, and so is the key that jobs are sealed with.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runestone_contract.config import Config, Key, PolicyOverflow
from runestone_contract.names import NATS_CREDENTIALS, OVERFLOW_KEY_ENTRY
from runestone_operator.nats.creds import read_user
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_testing import bundles
from runestone_testing.job_stand import (
    ANSWER,
    OVERFLOW_KEY,
    SILENCE_S,
    JobStand,
    key,
    question,
    until,
)
from runestone_testing.nats_accounts import TrustingNats, open_account
from runestone_testing.provider import Provider, json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from runestone_testing.provider import Request, Script
    from runestone_testing.sidecar import Sidecar

LIMIT = 20
CHAT = "/v1/chat/completions"
APP = key(rpm=LIMIT)


@dataclass
class Team(JobStand):
    home: Home = Home("", "")
    nats_credentials: bytes = b""

    def config(self, *keys: Key) -> Config:
        return super().config(*keys).model_copy(update={"namespace": self.home.namespace})

    def mount(self) -> None:
        credentials = {
            "cred-a": bundles.PROVIDER_KEY,
            OVERFLOW_KEY_ENTRY: OVERFLOW_KEY,
            NATS_CREDENTIALS: self.nats_credentials.decode(),
        }
        bundles.publish(self.root, self.config(APP), credentials)

    async def tells(self, job_id: str, number: int) -> bool:
        answer = await self.clients[number].get(f"/v1/jobs/{job_id}")
        return answer.status_code == 200 and answer.json()["status"] == "succeeded"

    async def share(self) -> None:
        for sidecar in self.sidecars:
            await until(lambda each=sidecar: asyncio.to_thread(_is_shared, each))  # type: ignore[misc]


def _is_shared(sidecar: Sidecar) -> bool:
    return sidecar.metric("runestone_limits_shared") == 1


@dataclass
class World:
    trust: Trust
    nats: TrustingNats
    teams: list[Team]


@asynccontextmanager
async def two_teams(folder: Path) -> AsyncIterator[World]:
    trust = Trust(KeyPair.generate(Role.OPERATOR))
    async with AsyncExitStack() as outer:
        stack = outer.enter_context(ExitStack())
        nats = TrustingNats(folder).trust(trust)
        stack.callback(nats.stop)
        nats.start()
        teams: list[Team] = []
        for number, name in enumerate(("shop", "bank")):
            home = Home(name, f"uid-{number}")
            provider = await outer.enter_async_context(Provider(_answer_of(name)))
            root = folder / name
            root.mkdir()
            env = {
                "LOG_LEVEL": "debug",
                "NATS_URL": nats.url,
                "RUNESTONE_JOBS_SILENCE_SECONDS": str(SILENCE_S),
            }
            credentials = await open_account(nats, trust, home)
            running = outer.enter_context(ExitStack())
            teams.append(
                Team(
                    root, provider, nats, env, PolicyOverflow(), running, [], [], home, credentials
                )
            )
        for team in teams:
            team.mount()
            for _ in range(2):
                await team.open(await team.start())
            await team.share()
        try:
            yield World(trust, nats, teams)
        finally:
            for team in teams:
                for client in team.clients:
                    await client.aclose()


def _answer_of(name: str) -> Callable[[Request], Script]:
    def answer(_: Request) -> Script:
        return json_reply(ANSWER | {"id": f"chatcmpl-{name}"})

    return answer


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*/sidecar-*.log"))


def seed_of(credentials: bytes) -> str:
    user = read_user(credentials)
    assert user is not None
    return user.seed


async def test_P16_equal_names_in_two_namespaces_do_not_meet(tmp_path: Path) -> None:
    async with two_teams(tmp_path) as world:
        shop, bank = world.teams
        taken = [
            await team.submit(0, "the same", **{"idempotency-key": "order-17"})
            for team in (shop, bank)
        ]
        assert [answer.status_code for answer in taken] == [202, 202]
        ids = [answer.json()["id"] for answer in taken]
        assert ids[0] == ids[1]  # it follows from key and idempotency key
        for team in (shop, bank):
            job = await team.ended(ids[0], 1)  # told by the other sidecar
            assert job["status"] == "succeeded"
            assert job["response"]["body"]["id"] == f"chatcmpl-{team.home.namespace}"
            assert len(team.provider.requests) == 1

        # The limit is shared by the two sidecars of a namespace, and by them alone.
        for team in (shop, bank):
            answers = await asyncio.gather(
                *(team.clients[n % 2].post(CHAT, json=question()) for n in range(2 * LIMIT))
            )
            counts = Counter(answer.status_code for answer in answers)
            assert counts == {200: LIMIT - 1, 429: LIMIT + 1}  # the job was one

        # New credentials, as where somebody has deleted the old: sidecars go over to them.
        shop.nats_credentials = await open_account(world.nats, world.trust, shop.home)
        shop.mount()
        for number in range(2):
            await until(lambda number=number: shop.tells(ids[0], number))  # type: ignore[misc]
        assert (await bank.job(ids[0]))["status"] == "succeeded"

        told = logs(tmp_path)
        assert "connected to NATS" in told
        assert not any(seed_of(each.nats_credentials) in told for each in (shop, bank))
