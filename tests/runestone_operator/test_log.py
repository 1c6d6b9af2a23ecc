from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from runestone_operator.log import configure_logging, mask

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-rs-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("kopf", "aiohttp", "httpx")}
    yield (made := io.StringIO())
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    assert KEY not in made.getvalue()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_fields(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    logging.getLogger("x").info("published %d", 3, extra={"namespace": "shop", "objects": 3})
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "x",
        "message": "published 3",
        "namespace": "shop",
        "objects": 3,
    }


def test_keys_are_masked_wherever_they_come_from(stream: io.StringIO) -> None:
    configure_logging("debug", stream=stream)
    logging.getLogger("x").warning("key %s", KEY, extra={"error": f"Bearer {KEY}"})
    logging.getLogger("kopf").warning("key %s", KEY)
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("x").exception("failed with %s", KEY)
    assert len(lines(stream)) == 3
    assert "sk-rs-ab…" in stream.getvalue()


def test_an_exception_says_where_and_what_but_not_its_text(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    text = " ".join(["a value", "pasted", "into the wrong field"])
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(stream)
    assert "a value pasted" not in line["exception"]
    assert line["exception"].endswith("ValueError")
    assert "test_log.py" in line["exception"]


def test_kopf_quotes_no_objects(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    logging.getLogger("kopf.x").warning("Ignoring an event: {'object': {'data': 'c2VjcmV0'}}")
    logging.getLogger("kopf.x").warning("body ['c2VjcmV0']", extra={"k8s_ref": "c2VjcmV0"})
    logging.getLogger("asyncio").error("Task<x>: exception=ValueError('c2VjcmV0')>")
    assert [line["message"] for line in lines(stream)] == [
        "Ignoring an event: …",
        "body …",
        "Task<x>: …",
    ]
    assert "c2VjcmV0" not in stream.getvalue()


def test_kopf_is_quiet_unless_asked(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    logging.getLogger("kopf.objects").info("Handler 'see-secrets' succeeded.")
    assert lines(stream) == []


def test_a_lasting_retry_is_told_ever_more_rarely(stream: io.StringIO) -> None:
    configure_logging("info", stream=stream)
    for attempt in range(1, 101):
        logging.getLogger("kopf.x").error("Request attempt #%d failed; will retry", attempt)
    told = [int(line["message"].split("#")[1].split()[0]) for line in lines(stream)]
    assert told == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param(KEY, "sk-rs-ab…", id="client key"),
        pytest.param("Authorization: Bearer abc.def", "Authorization: Bearer …", id="token"),
        pytest.param("task-list sk-1", "task-list sk-1", id="no key"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert mask(text) == masked
