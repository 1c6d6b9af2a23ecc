"""Retry-After in every form: honoured and capped, for the credential that it was said to."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest

from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.canaries import ANSWER
from runestone_testing.echo import completion
from runestone_testing.stand import FINE, Stand, standing

if TYPE_CHECKING:
    from pathlib import Path

    from runestone_contract.config import Config

KEYS = {"cred-a": "sk-one-0000000000000", "cred-b": "sk-two-0000000000000"}
DEFAULT_S = 1  # where the provider says nothing that can be understood


def in_a(seconds: float) -> str:
    return formatdate(time() + seconds, usegmt=True)


class Clock:
    """Of cooldowns and breakers."""

    def __init__(self, stand: Stand) -> None:
        self.now_s = 1000.0
        stand.gateway.parts.health.load.now_s = lambda: self.now_s


def limited(**headers: str) -> bytes:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return scripts.json_reply({"error": {"message": "slow down"}}, status=429, headers=named)


FORMS = [
    pytest.param({"retry_after": "30"}, 30, 30, id="C5-seconds"),
    pytest.param({"retry_after": "0.4"}, 1, 0.4, id="C5-part-of-a-second"),
    pytest.param({"retry_after": "0"}, 1, 0, id="C5-at-once"),
    pytest.param({"retry_after": in_a(3600)}, 120, 600, id="C6-date"),
    pytest.param({"retry_after": in_a(-3600)}, 1, DEFAULT_S, id="C6-date-in-the-past"),
    pytest.param({"retry_after_ms": "1500"}, 2, 1.5, id="C7-milliseconds"),
    pytest.param({"retry_after_ms": "2500", "retry_after": "90"}, 3, 2.5, id="C7-both"),
    pytest.param({"retry_after_ms": "soon", "retry_after": "9"}, 9, 9, id="C7-garbage-and-seconds"),
    pytest.param({"retry_after": "86400"}, 120, 600, id="C8-a-day"),
    pytest.param({"retry_after": "-1"}, 1, DEFAULT_S, id="C8-negative"),
    pytest.param({"retry_after": "when I am back"}, 1, DEFAULT_S, id="C8-garbage"),
    pytest.param({"retry_after": "nan"}, 1, DEFAULT_S, id="C8-nan"),
    pytest.param({"retry_after": "1e400"}, 1, DEFAULT_S, id="C8-endless"),
    pytest.param({}, 1, DEFAULT_S, id="C8-absent"),
]


@pytest.mark.parametrize(("headers", "told_s", "left_alone_s"), FORMS)
async def test_the_only_provider_is_left_alone_as_long_as_it_asks(
    stand: Stand, headers: dict[str, str], told_s: int, left_alone_s: float
) -> None:
    clock = Clock(stand)
    stand.provider.answer = limited(**headers)
    answer = await stand.chat()
    stand.refused(answer, 429, "rate_limit_exceeded")
    assert answer.headers["retry-after"] == str(told_s)
    if left_alone_s:
        clock.now_s += left_alone_s - 0.01
        again = await stand.chat()
        stand.refused(again, 429, "rate_limit_exceeded")
        assert again.headers["retry-after"] == "1"
        assert "x-should-retry" not in again.headers
        assert len(stand.provider.requests) == 1, "it was called although it asked not to be"
    clock.now_s += 0.02
    stand.provider.answer = FINE
    assert (await stand.chat()).status_code == 200
    assert len(stand.provider.requests) == 2


def two_keys(url: str) -> Config:
    return bundles.config(bundles.provider(url, credentials=("cred-a", "cred-b")))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"retry_after": "30"}, id="C5-seconds"),
        pytest.param({"retry_after": in_a(30)}, id="C6-date"),
        pytest.param({"retry_after_ms": "30000"}, id="C7-milliseconds"),
        pytest.param({"retry_after": "?"}, id="C8-garbage"),
    ],
)
async def test_the_cooldown_is_of_one_credential(tmp_path: Path, headers: dict[str, str]) -> None:
    def judge(request: scripts.Request) -> bytes:
        first = request.header("authorization") == f"Bearer {KEYS['cred-a']}"
        return limited(**headers) if first else FINE

    async with standing(tmp_path, config=two_keys, credentials=KEYS) as stand:
        clock = Clock(stand)
        stand.provider.answer = judge
        for _ in range(3):
            answer = await stand.chat()
            assert answer.json()["choices"][0]["message"]["content"] == ANSWER
        used = [request.header("authorization") for request in stand.provider.requests]
        first, second = (f"Bearer {key}" for key in KEYS.values())
        assert used == [first, second, second, second]
        clock.now_s += 31
        await stand.chat()
        assert stand.provider.requests[4].header("authorization") == first


async def test_C5_the_soonest_of_all_is_told(tmp_path: Path) -> None:
    async with standing(tmp_path, providers=2) as stand:
        clock = Clock(stand)
        for provider, seconds in zip(stand.providers, ("20", "50"), strict=True):
            provider.answer = limited(retry_after=seconds)
        await stand.chat()
        clock.now_s += 5
        answer = await stand.chat()
        stand.refused(answer, 429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "15"
        assert [len(provider.requests) for provider in stand.providers] == [1, 1]
        clock.now_s += 60


async def test_C5_another_provider_serves_meanwhile(tmp_path: Path) -> None:
    async with standing(tmp_path, providers=2) as stand:
        Clock(stand)
        first, second = stand.providers
        first.answer = limited(retry_after="20")
        second.answer = scripts.json_reply(completion("second"))
        for _ in range(4):
            answer = await stand.chat()
            assert answer.json()["choices"][0]["message"]["content"] == "second"
        assert (len(first.requests), len(second.requests)) == (1, 4)
