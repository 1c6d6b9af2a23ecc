"""A client that sends no more may wait for its answer, or be gone: TCP says the same for both.

What tells them apart is a byte that we send. Who waits takes it, and the kernel of who is gone
answers with a reset; so a client that stopped sending gets an interim response, which HTTP lets it
ignore, and a moment later we look at the state of the connection.
"""

import asyncio
import socket
from typing import Final

PROBE: Final = b"HTTP/1.1 102 Processing\r\n\r\n"
ANSWERED_S: Final = 0.05  # most resets are there by then; a later one is found with the next look
_TCP_CLOSE: Final = 7  # linux/tcp_states.h
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)


def can_tell() -> bool:
    return _TCP_INFO is not None


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether the kernel has given the connection up, which nobody notices who does not read."""
    tcp = transport.get_extra_info("socket")
    if tcp is None or _TCP_INFO is None:
        return True
    try:
        state: int = tcp.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
    except OSError:
        return True
    return state == _TCP_CLOSE
