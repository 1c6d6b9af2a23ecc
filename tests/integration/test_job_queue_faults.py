"""Jobs where their queue misbehaves: it delivers twice, its disk is full, its workers hang."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from nats.aio.client import Client

from runestone_sidecar.overflow.names import Names
from runestone_testing import provider as scripts
from runestone_testing.job_stand import ANSWER, DEADLINE_S, job_stand, until
from runestone_testing.nats import NatsServer
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runestone_testing.provider import Script

QUEUE = Names("shop").queue
DISK, LARGER_DISK = "size=3m", "size=64m"
TEXT = "x" * 100_000
MOST = 100  # requests of that size, which that disk does not hold


async def deliver_again(url: str) -> None:
    """The queue's only message once more, as a new one: what JetStream's window has forgotten."""
    client = Client()
    await client.connect(url)
    try:

        async def api(verb: str, body: dict[str, Any]) -> Any:
            subject = f"$JS.API.STREAM.{verb}.{QUEUE}"
            answer = json.loads((await client.request(subject, json.dumps(body).encode())).data)
            assert "error" not in answer, answer
            return answer

        config = (await api("INFO", {}))["config"]
        await api("UPDATE", {**config, "duplicate_window": 100_000_000})
        found = (await api("MSG.GET", {"seq": 1}))["message"]
        headers = base64.b64decode(found["hdrs"]).decode().split("\r\n")[1:-2]
        again = dict(line.split(": ", 1) for line in headers)

        async def is_new() -> bool:
            answer = await client.request(
                found["subject"], base64.b64decode(found["data"]), headers=again
            )
            return not json.loads(answer.data).get("duplicate", False)

        await until(is_new)
    finally:
        await client.close()


async def test_E9_a_job_that_is_delivered_twice_runs_once() -> None:
    gate = asyncio.Event()
    answer: Script = [scripts.until(gate), json_reply(ANSWER)]
    async with job_stand(answer=answer, sidecars=2) as stand:
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=DEADLINE_S)
        await deliver_again(stand.nats.url)

        async def is_one() -> bool:
            return await stand.waiting() == 1

        await until(is_one)
        gate.set()
        job = await stand.ended(job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 1)
        assert len(stand.provider.requests) == 1


async def test_E17_workers_that_hang_hold_up_nobody() -> None:
    async with job_stand(sidecars=2, RUNESTONE_JOBS_AT_ONCE="1") as stand:
        stand.provider.queue([scripts.hang()], [scripts.hang()])
        hung = [(await stand.submit(0, f"hung {number}")).json()["id"] for number in range(2)]
        await stand.provider.requested(2, within_s=DEADLINE_S)
        for sidecar in stand.sidecars:
            sidecar.process.send_signal(signal.SIGSTOP)
        last = await stand.start()
        await stand.open(last)
        fine = [(await stand.submit(last, f"fine {number}")).json()["id"] for number in range(3)]
        for job_id in fine:
            assert (await stand.ended(job_id, last))["attempts"] == 1
        for job_id in hung:
            assert (await stand.ended(job_id, last))["attempts"] == 2
        told = await asyncio.to_thread(
            stand.sidecars[last].metric, "runestone_jobs_taken_over_total"
        )
        assert told == len(hung)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)) != 0:
        pytest.skip("a file system of its own can be mounted by root alone")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*options: str) -> int:
    return subprocess.run(["mount", *options], check=False, capture_output=True).returncode


async def test_E16_a_full_disk_takes_no_promise_and_breaks_none(tmp_path: Path) -> None:
    nats = NatsServer(tmp_path, durable=True)
    with small_disk(nats.store):
        nats.start()
        try:
            async with job_stand(NATS_URL=nats.url, RUNESTONE_JOBS_AT_ONCE="0") as stand:
                taken: list[str] = []
                for _ in range(MOST):
                    answer = await stand.submit(0, TEXT)
                    if answer.status_code != 202:
                        break
                    taken.append(answer.json()["id"])
                assert answer.status_code in {429, 503}
                assert answer.headers["retry-after"]
                assert taken
                nats.stop()
                assert _mount("-o", f"remount,{LARGER_DISK}", str(nats.store)) == 0
                nats.start()
                await stand.open()
                await stand.open(await stand.start(RUNESTONE_JOBS_AT_ONCE="4"))
                ends = {(await stand.ended(job_id))["status"] for job_id in taken}
                assert ends == {"succeeded"}
        finally:
            nats.stop()
