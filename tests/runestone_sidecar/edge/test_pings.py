"""A model that thinks before it speaks: proxies on the way must not take the stream for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runestone_sidecar.edge import respond
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
