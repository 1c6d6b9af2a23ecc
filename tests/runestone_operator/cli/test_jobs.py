"""`runestone jobs`: its command line, and how jobs are put into words."""

from __future__ import annotations

import pytest

from runestone_operator.cli.failure import CommandError
from runestone_operator.cli.jobs_client import address
from runestone_operator.cli.jobs_table import age, details, table
from runestone_operator.cli.main import main

JOB = {
    "id": "job_1",
    "object": "runestone.job",
    "status": "failed",
    "created_at": 1_000,
    "finished_at": 1_060,
    "expires_at": None,
    "attempts": 5,
    "max_attempts": 5,
    "retries": 2,
    "api_key": None,
    "tenant": None,
    "retryable": True,
    "error": {"code": "upstream_error", "message": "The provider failed."},
}


def test_a_table_is_aligned_and_says_what_is_not_known() -> None:
    job = JOB | {"status": "queued", "error": None, "api_key": "checkout", "tenant": "shop"}
    assert table([JOB, job], now_s=1_192).splitlines() == [
        "ID      STATUS   AGE     TRIES   OWNER           TENANT   ERROR",
        "job_1   failed   3m12s   5/5     (no such key)   -        upstream_error",
        "job_1   queued   3m12s   5/5     checkout        shop     -",
    ]


def test_details_tell_all_there_is_and_what_to_do() -> None:
    assert details(JOB, now_s=1_090).splitlines() == [
        "ID:         job_1",
        "Status:     failed",
        "Owner:      (no such key)",
        "Tenant:     -",
        "Created:    1970-01-01 00:16:40 UTC (1m30s ago)",
        "Ended:      1970-01-01 00:17:40 UTC (30s ago)",
        "Attempts:   5 of 5",
        "Tried anew: 2 times",
        "Error:      upstream_error: The provider failed.",
        "Next:       runestone jobs retry job_1",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (192, "3m12s"), (18_000, "5h"), (187_200, "2d4h")],
    ids=str,
)
def test_an_age_is_told_in_two_units(seconds: int, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("given", "env", "wanted"),
    [
        pytest.param(None, {}, "http://127.0.0.1:4003", id="default"),
        pytest.param(None, {"OPENAI_BASE_URL": "http://a:1/v1"}, "http://a:1", id="sdk"),
        pytest.param(
            None,
            {"OPENAI_BASE_URL": "http://a:1/v1", "RUNESTONE_URL": "http://b:2/"},
            "http://b:2",
            id="own",
        ),
        pytest.param("https://c/v1/", {"RUNESTONE_URL": "http://b:2"}, "https://c", id="given"),
    ],
)
def test_where_it_asks(given: str | None, env: dict[str, str], wanted: str) -> None:
    assert address(given, env) == wanted


def test_what_is_no_url_is_said() -> None:
    with pytest.raises(CommandError):
        address("ftp://a")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["list", "--state", "done"], id="state"),
        pytest.param(["list", "--limit", "0"], id="limit"),
        pytest.param(["list", "--older-than", "1w"], id="age"),
        pytest.param(["purge"], id="purge-all"),
        pytest.param(["purge", "--state", "running"], id="purge-what-runs"),
        pytest.param(["retry", "--state", "succeeded"], id="retry-what-succeeded"),
        pytest.param([], id="no-action"),
    ],
)
def test_a_wrong_command_line_asks_nobody(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["jobs", *arguments])
    assert ended.value.code == 2
    assert "runestone jobs" in capsys.readouterr().err


@pytest.mark.parametrize("which", [[], ["job_1", "--state", "failed"]], ids=["none", "both"])
def test_retry_wants_to_know_which(which: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "retry", *which, "--key", "sk-x"]) == 2
    assert "say which" in capsys.readouterr().err
