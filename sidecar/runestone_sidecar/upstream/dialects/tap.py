"""What the taps on passing event streams share: how a stream begins, and how an event ends."""

from typing import Final

from runestone_sidecar.upstream.dialects.base import BadReply

EVENT_ENDS: Final = (b"}\n\n", b"}\r\n\r\n")  # of an event of JSON

_FIELD_NAMES: Final = (b"data", b"event", b"id", b"retry", b":", b"\n", b"\r", b"\xef\xbb\xbf")


def check_head(head: bytes, data: bytes) -> bytes | None:
    """A page or a JSON document where a stream was asked for is caught before it goes out.

    `head` is what was given back the last time; None: enough was seen.
    """
    head += data[:8]
    if not any(head.startswith(name) or name.startswith(head) for name in _FIELD_NAMES):
        raise BadReply("the reply is not an event stream")
    return head if len(head) < 5 else None
