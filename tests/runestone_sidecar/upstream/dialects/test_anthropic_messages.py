"""Messages that show nothing, which the Messages API takes none of."""

from typing import Any

import pytest

from runestone_sidecar.upstream.dialects.anthropic_messages import conversation
from runestone_sidecar.upstream.dialects.base import Untranslatable

HELLO = {"role": "user", "content": "Hello"}
BLANK = {"role": "user", "content": " "}
BLANK_PART = {"role": "user", "content": [{"type": "text", "text": "\n"}]}
REPLY = {"role": "assistant", "content": "Hi"}
NO_REPLY = {"role": "assistant", "content": ""}
SYSTEM = {"role": "system", "content": "x"}

# id -> (what follows a user's first message, the message that is refused)
REFUSED: dict[str, tuple[list[Any], int]] = {
    "after a reply": ([REPLY, BLANK], 2),
    "in parts": ([REPLY, BLANK_PART], 2),
    "twice": ([REPLY, BLANK, BLANK], 3),
    "before a system message": ([REPLY, BLANK, SYSTEM], 2),
    "before a reply that says nothing": ([REPLY, BLANK, NO_REPLY], 2),
}


@pytest.mark.parametrize(("messages", "refused"), REFUSED.values(), ids=REFUSED)
def test_a_users_silence_is_no_reply_to_go_on(messages: list[Any], refused: int) -> None:
    with pytest.raises(Untranslatable) as caught:
        conversation([HELLO, *messages])
    assert caught.value.param == f"messages[{refused}].content"


# id -> (what follows, the roles of the turns)
TAKEN: dict[str, tuple[list[Any], list[str]]] = {
    "after a user's": ([REPLY, HELLO, BLANK], ["user", "assistant", "user"]),
    "before a reply": ([REPLY, BLANK, REPLY], ["user", "assistant"]),
    "before a user's": ([REPLY, BLANK, HELLO], ["user", "assistant", "user"]),
    "a reply that says nothing": ([REPLY, HELLO, NO_REPLY], ["user", "assistant", "user"]),
    "a reply to go on": ([REPLY, SYSTEM], ["user", "assistant"]),
}


@pytest.mark.parametrize(("messages", "roles"), TAKEN.values(), ids=TAKEN)
def test_what_shows_nothing_elsewhere_is_left_out(messages: list[Any], roles: list[str]) -> None:
    _, turns = conversation([HELLO, *messages])
    assert [turn["role"] for turn in turns] == roles
