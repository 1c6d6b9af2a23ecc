"""A client that sends no more may wait for its answer, or be gone: TCP says the same for both.

What tells them apart is a byte that we send. Who waits takes it, and the kernel of who is gone
answers with a reset; so a client that stopped sending gets an interim response, or a comment in its
stream, which it ignores, and a moment later we look at the state of the connection.
"""

import asyncio
import socket
import sys
from typing import Final

PROBE: Final = b"HTTP/1.1 102 Processing\r\n\r\n"
ANSWERED_S: Final = 0.05  # most resets are there by then; a later one is found with the next look
SILENT_S: Final = 0.5  # within an event, where no comment may stand; then it is taken for gone
_TCP_CLOSE: Final = 7  # linux/tcp_states.h
_TCP_CLOSE_WAIT: Final = 8
_LAST_DATA_SENT: Final = slice(44, 48)  # of struct tcp_info, in ms
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)


def can_tell() -> bool:
    return _TCP_INFO is not None


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether the kernel has given the connection up, which nobody notices who does not read."""
    info = _tcp_info(transport)
    return info is None or info[0] == _TCP_CLOSE


def sends_no_more(transport: asyncio.Transport) -> bool:
    """The same of the end of what a client sends, where all before it came as far as the kernel."""
    info = _tcp_info(transport)
    return info is not None and info[0] in {_TCP_CLOSE, _TCP_CLOSE_WAIT}


def sent_within(transport: asyncio.Transport, seconds: float) -> bool:
    """Whether the kernel sent data of ours in that time."""
    info = _tcp_info(transport)
    return (
        info is not None and int.from_bytes(info[_LAST_DATA_SENT], sys.byteorder) < seconds * 1000
    )


def _tcp_info(transport: asyncio.Transport) -> bytes | None:
    """None: there is no connection any more."""
    tcp = transport.get_extra_info("socket")
    if tcp is None or _TCP_INFO is None:
        return None
    try:
        info: bytes = tcp.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_SENT.stop)
    except OSError:
        return None
    return info
