"""What the HTTP port itself refuses is counted, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_sidecar.telemetry.traffic import REFUSALS
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import Gateway, gateway, raw_request
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"
START = raw_request().partition(b"content-length")[0]
PATIENCE_S = 30


def counted(found: Gateway) -> dict[str, float]:
    """As Prometheus has it, but for what is zero."""
    name = "runestone_http_refusals_total"
    rows = [line for line in found.metrics().splitlines() if line.startswith(name + "{")]
    values = {
        row.partition('reason="')[2].partition('"')[0]: float(row.split()[-1]) for row in rows
    }
    assert set(values) == set(REFUSALS)
    return {reason: count for reason, count in values.items() if count}


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        pytest.param(b"GARBAGE\r\n\r\n", 400, "malformed", id="no-http"),
        pytest.param(HEAD + b"Host: y\r\n\r\n", 400, "malformed", id="two-hosts"),
        pytest.param(
            START + b"transfer-encoding: chunked\r\n\r\nnone\r\n", 400, "malformed", id="in-a-body"
        ),
        pytest.param(HEAD + b"x: %b\r\n\r\n" % bytes(99_000), 400, "malformed", id="nul"),
        pytest.param(HEAD + b"x: %b\r\n\r\n" % (b"y" * 99_000), 431, "too_large", id="head"),
        pytest.param(b"GET /%b HTTP/1.1\r\n\r\n" % (b"y" * 9_000), 414, "too_large", id="url"),
        pytest.param(HEAD, 408, "late", id="a-head-too-late"),
        pytest.param(START + b"content-length: 9\r\n\r\n", 408, "late", id="a-body-too-late"),
    ],
)
async def test_refusals_of_the_port_are_counted_by_their_reason(
    tmp_path: Path, sent: bytes, status: int, reason: str
) -> None:
    config = bundles.config(bundles.provider("http://127.0.0.1:1/v1"))
    async with gateway(tmp_path, config, header_timeout_s=0.1, body_timeout_s=0.1) as found:
        assert counted(found) == {}
        for number in (1, 2):
            wire = await Wire.connect(found.port)
            wire.send(sent)
            assert (await wire.answer(within_s=PATIENCE_S)).status == status
            await wire.close()
            assert counted(found) == {reason: number}


async def test_connections_that_are_turned_away_are_counted(tmp_path: Path) -> None:
    config = bundles.config(bundles.provider("http://127.0.0.1:1/v1"))
    async with gateway(tmp_path, config, max_connections=1) as found:
        wires = [await Wire.connect(found.port) for _ in range(3)]
        for wire in wires[1:]:
            assert (await wire.answer()).status == 503
        assert counted(found) == {"full": 2}
        for wire in wires:
            await wire.close()


async def test_what_an_endpoint_answers_is_no_refusal_of_the_port(tmp_path: Path) -> None:
    async with scripts.Provider(scripts.json_reply(completion("fine"))) as one:
        async with gateway(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
            answers = [await found.chat(), await found.chat(n=-1), await found.client.get("/none")]
            assert [answer.status_code for answer in answers] == [200, 400, 404]
            assert counted(found) == {}
