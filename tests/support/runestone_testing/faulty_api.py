"""A proxy before the real API server that fails as API servers and networks do, when it is told to.

Plain HTTP on 127.0.0.1, in a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runestone_testing.kube import ApiServer, User

# What a connection carries for itself, or the proxy makes anew.
OWN_HEADERS = {"host", "connection", "transfer-encoding", "content-length", "content-encoding"}
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
RESET = 0  # instead of a status


class FaultyApi:
    """`rate` of the requests fail by one of `statuses`; watches can be frozen, and made to expire.

    A kind is given by its plural, as in a path.
    """

    def __init__(self, api: ApiServer, user: User, *, seed: int = 1) -> None:
        self.rate = 0.0
        self.statuses: tuple[int, ...] = (429, 500, 503, RESET)
        self.frozen: set[str] = set()
        self.missing: set[str] = set()  # as if the CRD were gone
        self.refused: set[str] = set()  # names of objects that may not be touched, as by a quota
        self.failed = 0
        self._expired: set[str] = set()
        self._cuts: dict[str, set[asyncio.Task[None]]] = {}
        self._api = api
        self._user = user
        self._dice = random.Random(seed)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._soon(self._over.set)
        self._thread.join()

    def kubeconfig(self, path: Path) -> Path:
        config = json.loads(self._api.kubeconfig(token=self._api.token_for(self._user)).read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path.write_text(json.dumps(config))
        return path

    def expire(self, plural: str) -> None:
        """End the watches of this kind, and tell the next one that it comes too late."""

        def cut() -> None:
            self._expired.add(plural)
            self.frozen.discard(plural)
            for task in self._cuts.get(plural, ()):
                task.cancel()

        self._soon(cut)

    def _soon(self, do: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(do)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        tls = ssl.create_default_context(cafile=str(self._api.ca_file))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as self._session:
            runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._over.wait()
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if plural in self.missing:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        if plural in self.refused:
            return web.json_response({"kind": "Status", "reason": "Forbidden"}, status=403)
        if request.query.get("watch") == "true":
            return await self._watch(request, plural)
        body = await request.read()
        if self._dice.random() < self.rate:
            self.failed += 1
            return self._failure(request)
        async with self._forward(request, body) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers=_kept(answer.headers)
            )

    def _failure(self, request: web.BaseRequest) -> web.Response:
        status = self._dice.choice(self.statuses)
        if status == RESET and request.transport is not None:
            request.transport.abort()
        said = {"kind": "Status", "code": status, "reason": "Fault", "message": "told to fail"}
        return web.json_response(said, status=status or 500)

    async def _watch(self, request: web.BaseRequest, plural: str) -> web.StreamResponse:
        if plural in self._expired and "resourceVersion" in request.query:
            self._expired.discard(plural)
            return web.Response(text=json.dumps(GONE) + "\n", content_type="application/json")
        response = web.StreamResponse()
        async with self._forward(request, b"") as answer:
            response.set_status(answer.status)
            await response.prepare(request)
            pump = asyncio.ensure_future(self._pump(answer, response, plural))
            self._cuts.setdefault(plural, set()).add(pump)
            try:
                await asyncio.wait([pump])
            finally:
                pump.cancel()
                self._cuts[plural].discard(pump)
        return response

    async def _pump(
        self, answer: aiohttp.ClientResponse, response: web.StreamResponse, plural: str
    ) -> None:
        async for chunk in answer.content.iter_any():
            while plural in self.frozen:
                await asyncio.sleep(0.02)
            await response.write(chunk)

    def _forward(
        self, request: web.BaseRequest, body: bytes
    ) -> aiohttp.client._RequestContextManager:
        return self._session.request(
            request.method,
            self._api.url + request.path_qs,
            data=body or None,
            headers=_kept(request.headers),
        )


def _kept(headers: aiohttp.typedefs.LooseHeaders) -> dict[str, str]:
    pairs = dict(headers).items()
    return {str(name): str(value) for name, value in pairs if str(name).lower() not in OWN_HEADERS}
