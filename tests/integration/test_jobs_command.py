"""`runestone jobs` as it is called, against real sidecars and a real nats-server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runestone_contract.config import PolicyOverflow
from runestone_operator.cli.main import main
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.job_stand import ADMIN_KEY, JobStand, admin_key, job_stand, key, until
from runestone_testing.provider import json_reply
from runestone_testing.sidecar import running_sidecar

if TYPE_CHECKING:
    import pytest

BROKEN = json_reply({"error": {"message": "canary"}}, status=500)
ONCE = PolicyOverflow(max_attempts=1)
MISSING = f"job_{'0' * 40}"


@dataclass
class Called:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def jobs(url: str, *arguments: str, secret: str = ADMIN_KEY) -> Called:
    argv = [sys.executable, "-m", "runestone_operator.cli.main", "jobs", *arguments]
    settings = {"RUNESTONE_API_KEY": secret, "RUNESTONE_URL": url}
    done = await asyncio.to_thread(
        subprocess.run, argv, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Called(done.returncode, done.stdout, done.stderr)


async def failed(stand: JobStand) -> str:
    stand.provider.queue(BROKEN)
    return str((await stand.ended((await stand.submit()).json()["id"]))["id"])


async def test_a_night_with_failed_jobs() -> None:
    async with job_stand(key(), admin_key(), bounds=ONCE) as stand:
        url = stand.sidecars[0].api
        assert (await jobs(url, "list")).out == "There are no such jobs.\n"
        bad = [await failed(stand) for _ in range(2)]
        good = (await stand.submit()).json()["id"]
        await stand.ended(good)

        listed = await jobs(url, "list")
        assert (listed.code, listed.err) == (0, "")
        head, *rows = listed.rows
        assert head == ["ID", "STATUS", "AGE", "TRIES", "OWNER", "TENANT", "ERROR"]
        assert {row[0] for row in rows} == {good, *bad}
        shown = {row[0]: (row[1], *row[3:]) for row in rows}
        assert shown[good] == ("succeeded", "1/1", "app", "team", "-")
        assert shown[bad[0]] == ("failed", "1/1", "app", "team", "upstream_error")
        one = await jobs(url, "list", "--state", "failed", "--limit", "1", "--owner", "app")
        assert len(one.rows) == 3
        assert "1 older" in one.out
        (entry,) = (await jobs(f"{url}/v1", "list", "--state", "succeeded", "-o", "json")).json
        assert entry["id"] == good

        details = await jobs(url, "show", bad[0])
        assert "upstream_error: " in details.out
        assert f"runestone jobs retry {bad[0]}" in details.out
        assert "canary" not in details.out

        retried = await jobs(url, "retry", bad[0], MISSING, good)
        assert retried.code == 1
        assert [line.partition("  ")[2] for line in retried.out.splitlines()[:3]] == [
            "queued anew",
            "not done: There is no such job.",
            "not done: The job has its answer.",
        ]
        assert (await stand.ended(bad[0]))["status"] == "succeeded"
        rest = await jobs(url, "retry", "--state", "failed", "--newer-than", "1h", "-o", "json")
        assert [job["id"] for job in rest.json] == [bad[1]]
        assert (await stand.ended(bad[1]))["status"] == "succeeded"

        kept = await jobs(url, "purge", "--state", "succeeded", "--older-than", "1h")
        assert kept.out == "0 jobs purged\n"
        purged = await jobs(url, "purge", "--state", "succeeded,failed", "-o", "json")
        assert purged.json == {"purged": 3}
        assert (await jobs(url, "list", "-o", "json")).json == []


async def test_a_job_is_cancelled() -> None:
    async with job_stand(key(), admin_key(), answer=[scripts.hang()]) as stand:
        job_id = (await stand.submit()).json()["id"]
        await stand.provider.requested(within_s=30)
        done = await jobs(stand.sidecars[0].api, "cancel", job_id)
        assert (done.code, done.rows[0]) == (0, [job_id, "cancelled"])


async def test_what_keeps_it_from_its_work_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with job_stand(key(), admin_key()) as stand:
        url = stand.sidecars[0].api

        async def says(*words: str, code: int = 1, at: str = url, secret: str = ADMIN_KEY) -> None:
            """In this process: a new one for each would take its time."""
            capsys.readouterr()
            asked = ["jobs", "list", "--url", at, "--key", secret]
            assert await asyncio.to_thread(main, asked) == code
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err.startswith("runestone: ")
            assert said.err.count("\n") == 1
            for word in words:
                assert word in said.err, said.err

        await says("role Admin", secret=bundles.CLIENT_KEY)
        await says("does not accept the key", secret=ADMIN_KEY.replace("admin", "nimda"))
        await says("has characters", code=2, secret="sk-ключ")
        await says("http://", code=2, at="localhost:4003")
        await says("does not answer as a sidecar", at=stand.sidecars[0].health)
        without = await jobs(url, "list", secret="")
        assert (without.code, without.out) == (2, "")
        assert "RUNESTONE_API_KEY" in without.err
        missing = await jobs(url, "show", MISSING)
        assert (missing.code, missing.err) == (1, "runestone: There is no such job.\n")
        odd = await jobs(url, "show", "../usage")
        assert (odd.code, odd.out) == (1, "")
        with running_sidecar(stand.root, stand.root) as alone:
            await says("without NATS_URL", at=alone.api)
        stand.nats.stop()

        async def is_away() -> bool:
            return not await stand.is_open(0)

        await until(is_away)
        await says("queue_unavailable")
        stand.sidecars[0].process.kill()
        stand.sidecars[0].process.wait()
        await says("cannot be reached", "RUNESTONE_URL")
