"""`runestone jobs` as it is called, against real sidecars and a real nats-server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from runestone_contract.config import PolicyOverflow
from runestone_operator.cli.main import main
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.job_stand import ADMIN_KEY, JobStand, admin_key, job_stand, key, until
from runestone_testing.provider import json_reply
from runestone_testing.sidecar import running_sidecar

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


class Terminal:
    """Calls the command in this process: a new one for each call would take its time."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def jobs(self, url: str, *arguments: str, secret: str = ADMIN_KEY) -> Called:
        self._capsys.readouterr()
        asked = ["jobs", *arguments, "--url", url, "--key", secret]
        code = await asyncio.to_thread(main, asked)
        return Called(code, *self._capsys.readouterr())


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


async def run(*arguments: str, **env: str) -> Called:
    """As a process of its own."""
    argv = [sys.executable, "-m", "runestone_operator.cli.main", "jobs", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=os.environ | env, capture_output=True, text=True, check=False
    )
    return Called(done.returncode, done.stdout, done.stderr)


async def failed(stand: JobStand) -> str:
    stand.provider.queue(BROKEN)
    return str((await stand.ended((await stand.submit()).json()["id"]))["id"])


async def test_a_night_with_failed_jobs(terminal: Terminal) -> None:
    jobs = terminal.jobs
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

        stand.provider.queue([scripts.hang()])
        running = (await stand.submit()).json()["id"]
        done = await jobs(url, "cancel", running)
        assert (done.code, done.rows) == (0, [[running, "cancelled"]])


async def test_it_is_a_program_that_is_told_where_and_who_by_its_environment() -> None:
    async with job_stand(key(), admin_key()) as stand:
        url, nobody = stand.sidecars[0].api, {"RUNESTONE_API_KEY": ""}
        env = {"RUNESTONE_URL": url, "RUNESTONE_API_KEY": ADMIN_KEY}
        env["HTTP_PROXY"] = env["ALL_PROXY"] = "http://127.0.0.1:9"  # is not for what is here
        assert (await run("list", "-o", "json", **env)) == Called(0, "[]\n", "")
        unasked = await run("list", **env | nobody)
        assert (unasked.code, unasked.out) == (2, "")
        assert "RUNESTONE_API_KEY" in unasked.err
        elsewhere = {"RUNESTONE_URL": "http://gateway.test", "HTTP_PROXY": url}
        proxied = await run("list", **env | elsewhere)
        assert "cannot be reached" not in proxied.err  # the proxy answered, as well as it can
        refused = await run("show", MISSING, **env)
        assert refused == Called(1, "", "runestone: There is no such job.\n")


async def test_what_keeps_it_from_its_work_is_said_in_a_line(terminal: Terminal) -> None:
    async with job_stand(key(), admin_key()) as stand:
        url = stand.sidecars[0].api

        async def says(*words: str, code: int = 1, at: str = url, secret: str = ADMIN_KEY) -> None:
            called = await terminal.jobs(at, "list", secret=secret)
            assert (called.code, called.out) == (code, "")
            assert called.err.startswith("runestone: ")
            assert called.err.count("\n") == 1
            for word in words:
                assert word in called.err, called.err

        await says("role Admin", secret=bundles.CLIENT_KEY)
        await says("does not accept the key", secret=ADMIN_KEY.replace("admin", "nimda"))
        await says("has characters", code=2, secret="sk-ключ")
        await says("http://", code=2, at="localhost:4003")
        await says("does not answer as a sidecar", at=stand.sidecars[0].health)
        odd = await terminal.jobs(url, "show", "../usage")
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
