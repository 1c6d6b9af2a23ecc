"""A model that thinks before it speaks: proxies on the way must not take the stream for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.edge import respond
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.gateway import gateway
from runestone_testing.pairs import PAIRS, Pair
from runestone_testing.provider import SSE, chunk, head

if TYPE_CHECKING:
    from pathlib import Path

PING = ": ping\n\n"


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_pings_fill_the_silence_after_a_first_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    monkeypatch.setattr(respond, "PING_AFTER_S", 0.05)
    first, *rest = pair.events()
    script: list[Any] = [
        head(content_type=SSE) + chunk(first),
        scripts.pause(0.3),
        b"".join(map(chunk, rest)) + scripts.LAST_CHUNK,
    ]
    async with scripts.Provider(script) as one:
        async with gateway(tmp_path, pair.config(one.url)) as found:
            answer = await found.client.post(pair.api.path, json={**pair.api.asked, "stream": True})
    assert answer.text.count(PING) >= 2
    assert pair.api.whole in answer.content


EVENT = scripts.event({"type": "speech.audio.delta", "audio": "aGk="})
SIZED = [("content-length", str(2 * len(EVENT)))]


@pytest.mark.parametrize(
    ("start", "first", "pinged"),
    [
        pytest.param(head(content_type=SSE), EVENT, True, id="events"),
        pytest.param(head(content_type=SSE), EVENT[:9], False, id="within-an-event"),
        pytest.param(head(content_type="audio/mpeg"), EVENT, False, id="audio"),
        pytest.param(head(headers=SIZED, content_type=SSE), EVENT, False, id="of-a-length"),
    ],
)
async def test_only_events_that_are_handed_on_are_parted_by_pings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: bytes,
    first: bytes,
    pinged: bool,
) -> None:
    monkeypatch.setattr(respond, "PING_AFTER_S", 0.05)
    rest = (EVENT * 2).removeprefix(first)
    script: list[Any] = [start + chunk(first), scripts.pause(0.3), chunk(rest) + scripts.LAST_CHUNK]
    if b"content-length" in start:
        script = [start + first, scripts.pause(0.3), rest]
    async with scripts.Provider(script) as one:
        provider = bundles.provider(f"{one.url}/v1", models=("speak",))
        async with gateway(tmp_path, bundles.config(provider)) as found:
            body = {"model": "speak", "input": "x", "voice": "alloy"}
            answer = await found.client.post("/audio/speech", json=body)
    assert (answer.text.count(PING) >= 2) is pinged
    assert (PING in answer.text) is pinged
    assert answer.text.replace(PING, "").encode() == EVENT * 2
