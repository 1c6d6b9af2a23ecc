"""Bodies and heads that are not what they should be: a clear 4xx, and the next request is fine."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import CHAT, Gateway, gateway, question

LIMIT_BYTES = 4096
JSON = {"content-type": "application/json"}
GOOD = json.dumps(question()).encode()


@pytest_asyncio.fixture
async def found(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with scripts.Provider(scripts.json_reply(completion("fine"))) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config, max_body_bytes=LIMIT_BYTES) as each:
            yield each
            answer = await each.client.post(CHAT, content=GOOD, headers=JSON)
            assert answer.status_code == 200, "the next request suffers"


def nested(opening: bytes, count: int) -> bytes:
    return b'{"model":"gpt-4o-mini","messages":' + opening * count


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(b"x" * (LIMIT_BYTES + 1), 413, id="A1-too-large"),
        pytest.param(nested(b"[", 2000), 400, id="A3-nested-arrays"),
        pytest.param(nested(b'{"a":', 600), 400, id="A3-nested-objects"),
        pytest.param(GOOD[:-1] + b',"seed":1' + b"0" * 3000 + b"}", 400, id="A4-huge-integer"),
        pytest.param(GOOD[:-1] + b',"x":"\xff\xfe"}', 400, id="A5-invalid-utf8"),
        pytest.param(GOOD[:-1] + b',"x":"\\ud800"}', 400, id="A5-lone-surrogate"),
        pytest.param(GOOD.decode().encode("utf-16"), 400, id="A5-utf16"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, 400, id="A5-bom"),
        pytest.param(GOOD[:-1] + b',"x":NaN}', 400, id="A6-nan"),
        pytest.param(b"", 400, id="A9-empty"),
        pytest.param(b"null", 400, id="A9-null"),
        pytest.param(b"[]", 400, id="A9-array"),
        pytest.param(GOOD + b"x", 400, id="A9-trailing-garbage"),
    ],
)
async def test_a_bad_body(found: Gateway, content: bytes, status: int) -> None:
    answer = await found.client.post(CHAT, content=content, headers=JSON)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


async def test_a2_a_chunked_body_is_cut_at_the_limit(found: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1024

    answer = await found.client.post(CHAT, content=pieces(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"content-type": "text/plain"}, id="A11-text"),
        pytest.param({"content-type": "multipart/form-data; boundary=x"}, id="A11-multipart"),
        pytest.param({"content-type": "application/json; charset=utf-16"}, id="A11-utf16"),
        pytest.param(JSON | {"content-encoding": "gzip"}, id="A12-gzip"),
    ],
)
async def test_a_body_of_another_kind_is_415(found: Gateway, headers: dict[str, str]) -> None:
    answer = await found.client.post(CHAT, content=GOOD, headers=headers)
    assert answer.status_code == 415


async def test_json_with_its_charset_named_is_fine(found: Gateway) -> None:
    headers = {"content-type": 'application/json; charset="UTF-8"'}
    assert (await found.client.post(CHAT, content=GOOD, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/chat/completions/", id="trailing-slash"),
        pytest.param("//v1/chat/completions", id="double-slash"),
        pytest.param("/v1/%2e%2e/metrics", id="encoded-dots"),
        pytest.param("/metrics", id="metrics"),
        pytest.param("/health/config", id="the-health-ports-own"),
        pytest.param("/", id="root"),
    ],
)
async def test_a20_other_paths_are_404_in_the_envelope(found: Gateway, path: str) -> None:
    answer = await found.client.get(f"http://127.0.0.1:{found.port}{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"
    assert "ends in /v1" in answer.json()["error"]["message"]


async def test_another_method_is_405_and_names_the_right_one(found: Gateway) -> None:
    answer = await found.client.get(CHAT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_a_request_id_is_the_clients_where_it_is_fit(found: Gateway) -> None:
    answer = await found.client.get("/models", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    answer = await found.client.get("/models", headers={"x-request-id": "has blanks"})
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("piece", "status"),
    [
        pytest.param(b"{},", 400, id="P11-objects"),
        pytest.param(b"[],", 400, id="P11-arrays"),
        pytest.param(b"1,", 400, id="P11-numbers"),
        pytest.param(b'"a text of some words, as they come",', 200, id="texts"),
    ],
)
async def test_a_body_that_would_grow_beyond_bounds_is_refused(
    tmp_path: Path, piece: bytes, status: int
) -> None:
    limit_bytes = 4 << 20
    values = piece * (limit_bytes * 9 // 10 // len(piece))
    body = GOOD[:-1] + b',"metadata":[' + values[:-1] + b"]}"
    wide = bundles.model("gpt-4o-mini").model_copy(update={"context_window": 10_000_000})
    async with scripts.Provider(scripts.json_reply(completion("fine"))) as one:
        provider = bundles.provider(f"{one.url}/v1").model_copy(update={"models": (wide,)})
        async with gateway(tmp_path, bundles.config(provider), max_body_bytes=limit_bytes) as found:
            answer = await found.client.post(CHAT, content=body, headers=JSON)
            assert answer.status_code == status
