"""The sidecar's log for a person: what happened to a request, and nothing that moves the cursor."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runestone_operator.cli.run.logline import OWN_REQUEST_ID, readable

REQUEST: dict[str, Any] = {
    "time": "2027-01-31T10:20:30.123Z",
    "level": "info",
    "message": "request",
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "duration_ms": 41.2,
}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            REQUEST
            | {
                "api_key": "shop/app",
                "model": "gpt-4o",
                "provider": "shop/pool/demo",
                "input_tokens": 12,
                "output_tokens": 80,
            },
            "10:20:30 200 gpt-4o -> shop/pool/demo, 41.2 ms, 12 tokens in, 80 out, ApiKey shop/app",
            id="answered",
        ),
        pytest.param(
            REQUEST | {"status": 401, "error": "invalid_api_key"},
            "10:20:30 401 POST /v1/chat/completions, 41.2 ms, invalid_api_key",
            id="refused",
        ),
        pytest.param(
            REQUEST | {"status": 429, "model": "gpt-4o", "error": "rate_limit_exceeded"},
            "10:20:30 429 POST /v1/chat/completions for gpt-4o, 41.2 ms, rate_limit_exceeded",
            id="refused-for-a-model",
        ),
        pytest.param(
            REQUEST | {"path": "/v1/files", "model": None, "provider": "shop/pool/demo"},
            "10:20:30 200 POST /v1/files -> shop/pool/demo, 41.2 ms",
            id="of-no-model",
        ),
        pytest.param(
            REQUEST | {"path": "/\x1b[2J\n"},
            "10:20:30 200 POST /?[2J?, 41.2 ms",
            id="hostile",
        ),
        pytest.param(
            REQUEST | {"message": "cannot reload", "level": "warning"},
            "10:20:30 warning: cannot reload",
            id="warning",
        ),
        pytest.param(REQUEST | {"message": "drained"}, None, id="what is said already"),
    ],
)
def test_a_line_is_told_in_words(fields: dict[str, Any], expected: str | None) -> None:
    assert readable(line(**fields)) == expected


def test_our_own_questions_are_left_out() -> None:
    assert readable(line(**REQUEST | {"request_id": OWN_REQUEST_ID})) is None


def test_a_traceback_keeps_its_lines() -> None:
    told = readable(line(**REQUEST | {"message": "x", "level": "error", "exception": "a\n  b"}))

    assert told == "10:20:30 error: x\na\n  b"


def test_what_is_no_json_is_passed_on() -> None:
    assert readable(b"Traceback (most recent call last):") == "Traceback (most recent call last):"
