"""What a provider in trouble must lead to: another one's answer, or one refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runestone_contract.config import Retry, Timeouts
from runestone_testing.heard import ask, check_whole, refusal_of
from runestone_testing.pairs import PAIRS, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from runestone_testing import provider as scripts
    from runestone_testing.stand import Stand


WORDS = "another one answers"
SECRET_DETAIL = "internal-host-17"
TWICE = Retry(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=2)
THRICE = Retry(max_attempts=3, initial_backoff_ms=1, max_backoff_ms=2)
HURRY = Timeouts(connect_ms=300)

every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def answering(pair: Pair, text: str = WORDS) -> Callable[[scripts.Request], bytes]:
    return lambda asked: pair.stream(text) if asked.json().get("stream") else pair.whole(text)


async def check_that_another_answers(stand: Stand, pair: Pair, failed: str) -> None:
    """Plain and streamed; the last provider is the other."""
    stand.providers[-1].answer = answering(pair)
    stand.next_answer = pair.chat()
    for stream in (False, True):
        heard = await ask(stand, pair, stream=stream)
        check_whole(pair, heard, WORDS, stream=stream)
        assert stand.lines()[-1]["tried"] == [f"shop/pool/p0: {failed}"]


async def check_that_it_is_refused(stand: Stand, pair: Pair, status: int) -> None:
    for stream in (False, True):
        heard = await ask(stand, pair, stream=stream)
        error = refusal_of(pair, heard, status)
        code = "upstream_timeout" if status == 504 else "upstream_error"
        assert error.get("code", code) == code  # Anthropic's envelope has none
        assert heard.headers["x-should-retry"] == "false"  # it was tried as often as it is worth
        assert SECRET_DETAIL not in heard.body.decode()
        others = {each.partition(": ")[0] for each in stand.lines()[-1]["tried"]}
        assert ("No other provider" in error["message"]) is (len(others) > 1)
