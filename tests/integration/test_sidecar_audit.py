"""Events and audit records of a real sidecar: for each request what became of it, once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from runestone_contract.chain import ORIGIN
from runestone_testing import bundles, canaries, story
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_testing.story import Told

PROVIDER = "shop/pool/steady"
SERVED = {"decision": "allowed", "api_key": "shop/app", "tenant": "team", "provider": PROVIDER}
GPT = {"model": "gpt-4o-mini", "upstream_model": "gpt-4o-mini", "attempts": 1}
ASKED = {"method": "POST", "path": "/v1/chat/completions"}

RECORDS: dict[str, dict[str, Any]] = {
    "whole": {
        **ASKED,
        **SERVED,
        **GPT,
        "status": 200,
        "input_tokens": 7,
        "output_tokens": 5,
        "cost_usd": "0.00000405",  # 7 x 0.15 and 5 x 0.60 micro-dollars
    },
    "stream": {
        **SERVED,
        **GPT,
        "status": 200,
        "stream": True,
        "input_tokens": 7,
        "output_tokens": 2,
        "cost_usd": "0.00000225",
    },
    "unknown-key": {
        **ASKED,
        "decision": "denied",
        "status": 401,
        "error": "invalid_api_key",
        "presented": "sk-rs-no…",
    },
    "disabled-key": {"decision": "denied", "status": 401, "presented": "shop/disabled"},
    "no-key": {"decision": "denied", "status": 401, "error": "invalid_api_key"},
    "no-model": {
        "decision": "denied",
        "status": 404,
        "error": "model_not_found",
        "model": "gpt-9",
        "api_key": "shop/app",
    },
    "forbidden": {
        "method": "GET",
        "path": "/v1/files",
        "decision": "denied",
        "status": 403,
        "error": "permission_denied",
        "api_key": "shop/restricted",
    },
    "wrong-method": {"method": "GET", "decision": "denied", "status": 405},
    "models": {"path": "/v1/models", "decision": "allowed", "status": 200, "api_key": "shop/app"},
    "no-json": {"decision": "denied", "status": 400, "error": "invalid_request_error"},
    "last-allowed": {**SERVED, "api_key": "shop/small", "status": 200},
    "over-limit": {
        "decision": "denied",
        "status": 429,
        "error": "rate_limit_exceeded",
        "api_key": "shop/small",
    },
    "refused": {
        **SERVED,
        **GPT,
        "status": 400,
        "error": "bad",
        "tried": [f"{PROVIDER}: status_400"],
    },
    "failed": {**SERVED, **GPT, "status": 502, "error": "upstream_error"},
    "cut": {
        **SERVED,
        **GPT,
        "status": 200,
        "interrupted": "lost_mid_body",
        "usage_estimated": True,
        "output_tokens": 1,
    },
    "gone": {**SERVED, **GPT, "status": 499, "client_gone": True},
    "upload": {"path": "/v1/files", **SERVED, "model": "", "upstream_model": "-", "status": 200},
    "opens": {**SERVED, "provider": "shop/pool/frail", "status": 502},
    "closes": {**SERVED, "provider": "shop/pool/frail", "model": "gpt-4o", "status": 200},
}

# By request; "called" stands for CALLED.
EVENTS: dict[str, tuple[str, ...]] = {
    "whole": ("called", "provider.request_stop"),
    "stream": ("called", "provider.request_stop", *["stream.chunk"] * 4, "stream.complete"),
    "unknown-key": ("auth.invalid_key",),
    "disabled-key": ("auth.failure",),
    "no-key": ("auth.failure",),
    "no-model": ("auth.success", "router.route_error"),
    "forbidden": ("auth.success", "router.route_error"),
    "models": ("auth.success",),
    "no-json": ("auth.success",),
    "last-allowed": ("called", "provider.request_stop"),
    "over-limit": ("auth.success", "router.decide", "ratelimit.check", "ratelimit.block"),
    "refused": ("called", "provider.request_error"),
    "failed": ("called", "provider.request_error"),
    "cut": ("called", "provider.request_stop", "stream.chunk", "stream.error"),
    "gone": ("called",),
    "upload": ("called", "provider.request_stop"),
    "opens": ("called", "provider.request_error", "circuit.open"),
    "closes": ("called", "circuit.half_open", "provider.request_stop", "circuit.close"),
    "of no request": ("config.reload", "config.reject"),
}
CALLED = (
    "auth.success",
    "router.decide",
    "ratelimit.check",
    "ratelimit.allow",
    "provider.request_start",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = tmp_path_factory.mktemp("story")
    found = asyncio.run(story.told_by(root, RUNESTONE_AUDIT=str(root / "audit.jsonl")))
    found.outputs["audit"] = (root / "audit.jsonl").read_text()
    return found


@pytest.mark.parametrize("request_id", RECORDS)
def test_a_request_leaves_one_record_that_says_what_became_of_it(
    told: Told, request_id: str
) -> None:
    (record,) = told.of(request_id)
    wanted = {"event": "request", **RECORDS[request_id]}
    assert {name: record.get(name) for name in wanted} == wanted
    assert record["status"] == 499 or record["status"] == (told.statuses[request_id] or 200)
    assert record["config"] == ("" if request_id == "wrong-method" else told.digest)
    assert record["time"].endswith("Z")


def test_nothing_but_requests_to_the_api_and_the_process_is_recorded(told: Told) -> None:
    ids = [record["request_id"] for record in told.records if record["event"] == "request"]
    assert sorted(ids) == sorted(RECORDS)  # not the one for a path that the API does not have
    first, *_, last = told.records
    assert (first["event"], first["seq"], first["prev"]) == ("start", 0, ORIGIN)
    assert {"host", "pid", "version"} <= first.keys()
    assert last["event"] == "stop"


def test_each_event_is_counted_as_often_as_it_happened(told: Told) -> None:
    happened = [
        each
        for events in EVENTS.values()
        for name in events
        for each in (CALLED if name == "called" else (name,))
    ]
    counts = {name: count for name, count in told.events.items() if count}
    assert counts == Counter(happened)


def test_there_are_28_series_of_events(told: Told) -> None:
    assert len(told.events) == 28
    later = [name for name in told.events if name.startswith(("overflow.", "cache."))]
    assert len(later) == 9
    assert {told.events[name] for name in later} == {0}


@pytest.mark.parametrize("output", ["audit", "log", "metrics"])
def test_nothing_secret_is_told(told: Told, output: str) -> None:
    text = told.outputs[output]
    assert text
    assert canaries.found_in(text) == []
    for key in (story.UNKNOWN_KEY, story.DISABLED_KEY):
        assert key[8:] not in text


def verified(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    command = [sys.executable, "-m", "runestone_operator.cli.main", "audit", "verify", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_the_chain_holds(told: Told) -> None:
    code, said = verified("-", given=told.outputs["audit"].encode())
    assert (code, "1 chain: every link holds" in said) == (0, True), said
    assert told.records[-1]["hash"] in said
    assert "without a closing record" not in said


def test_records_on_stdout_stand_between_the_lines_of_the_log(tmp_path: Path) -> None:
    found = asyncio.run(story.told_by(tmp_path, RUNESTONE_AUDIT="stdout"))
    lines = [json.loads(line) for line in found.outputs["log"].splitlines()]
    assert {line["message"] for line in lines} >= {"audit", "request", "drained"}
    records = [line for line in lines if line["message"] == "audit"]
    assert len(records) == len(RECORDS) + 2
    code, said = verified("-", given=found.outputs["log"].encode())
    assert (code, "1 chain: every link holds" in said) == (0, True), said


# --- the file, through the lives of several processes


@pytest.fixture
def served(tmp_path: Path) -> Path:
    bundles.publish(tmp_path, bundles.config())
    return tmp_path


def ask(sidecar: Sidecar, times: int) -> None:
    for _ in range(times):
        httpx.get(f"{sidecar.base_url}/models", trust_env=False, timeout=30)


def events_of(file: Path) -> list[str]:
    lines = file.read_bytes().split(b"\n")[:-1]
    return [json.loads(line)["event"] for line in lines]


def test_a_killed_process_leaves_a_file_that_verifies_and_goes_on(served: Path) -> None:
    file = served / "audit.jsonl"
    with running_sidecar(served, served, RUNESTONE_AUDIT=str(file)) as sidecar:
        ask(sidecar, 3)
        wait_until("they are written", lambda: len(events_of(file)) == 4, within_s=30)
        sidecar.process.kill()
        sidecar.process.wait()
    code, said = verified(str(file))
    assert (code, "without a closing record" in said) == (0, True), said
    with file.open("ab") as torn:
        torn.write(b'{"message":"audit","level":"info","cha')
    with running_sidecar(served, served, RUNESTONE_AUDIT=str(file)) as sidecar:
        ask(sidecar, 1)
        assert sidecar.stop(within_s=30) == 0
    assert events_of(file) == ["start", *["request"] * 3, "start", "request", "stop"]
    tear = json.loads(file.read_bytes().split(b"\n")[4])["torn"]
    assert (served / tear["file"]).read_bytes() == b'{"message":"audit","level":"info","cha'
    code, said = verified(str(file))
    assert (code, "7 records in 1 chain: every link holds" in said) == (0, True), said
    assert "1 torn line of a killed process put aside" in said


def test_two_processes_do_not_write_into_one_file(served: Path) -> None:
    file = served / "audit.jsonl"
    with running_sidecar(served, served, RUNESTONE_AUDIT=str(file)) as sidecar:
        with pytest.raises(AssertionError, match=r"ended with 2:\s.*another process writes to"):
            with running_sidecar(served, served, RUNESTONE_AUDIT=str(file)):
                pass
        assert sidecar.stop(within_s=30) == 0
    assert events_of(file) == ["start", "stop"]


def test_a_file_of_something_else_is_left_alone(served: Path) -> None:
    file = served / "notes.txt"
    file.write_text("dear diary\n")
    with pytest.raises(AssertionError, match="does not end in an audit record"):
        with running_sidecar(served, served, RUNESTONE_AUDIT=str(file)):
            pass
    assert file.read_text() == "dear diary\n"
