"""Names to addresses, on threads of our own: a name server that a client's URL leads to may be slow
on purpose, and the loop's resolver has few threads, which providers' names need.
"""

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address
from typing import Final

from runestone_sidecar.overflow.webhooks.urls import Address

AT_ONCE: Final = 16  # threads; a look-up that nobody waits for any more still has its own


class Unresolved(Exception):
    """There is no such name, or nobody says."""


class Resolver:
    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """In the order to try them. Raises Unresolved."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def settle(found: list[Address] | None) -> None:
            self._places.release()
            if answer.done():
                return
            if found:
                answer.set_result(found)
            else:
                answer.set_exception(Unresolved())

        def look_up() -> None:
            found = _addresses(host, port)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(settle, found)

        # A daemon: the end of the process does not wait for a name server.
        threading.Thread(target=look_up, name="webhook-resolver", daemon=True).start()
        return await answer


def _addresses(host: str, port: int) -> list[Address] | None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(str(sockaddr[0])) for *_, sockaddr in found))
    except (OSError, UnicodeError, ValueError):
        return None
