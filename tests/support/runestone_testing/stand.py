"""The fault test stand: our servers before scripted providers, with planted secrets.

    async with standing(tmp_path) as stand:
        stand.provider.answer = [...]              # any fault, see provider.py
        stand.refused(await stand.chat(n=-1), 400, param="n")

When the block ends it checks what must hold after every fault: nothing failed inside (500), no
planted secret is in any output, nothing of the requests is left, each request has its one audit
record, and the next one is answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx

from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import CHAT, Gateway, gateway, question, raw_request
from runestone_testing.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from runestone_contract.config import Config

SETTLE_S: Final = 20.0
NOT_OURS: Final = ("httpx", "httpcore", "openai", "anthropic", "langchain")  # clients of the tests
HEALTH_PATHS: Final = (
    "/metrics",
    "/health/live",
    "/health/ready",
    "/health/config",
    "/health/providers",
)
FINE: Final = scripts.json_reply(completion(canaries.ANSWER))


class Response(Protocol):
    """httpx's and the wire's."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...


@dataclass
class Stand:
    gateway: Gateway
    providers: list[scripts.Provider]
    outputs: Outputs
    audit_file: Path
    next_request: dict[str, Any] = field(default_factory=dict)  # fields of the one that follows
    next_answer: scripts.Answer = FINE  # of the providers to that one
    next_status: int = 200  # another, where a limit or an open breaker is what is tested
    settle_s: float = SETTLE_S
    _wires: list[Wire] = field(default_factory=list)

    @property
    def provider(self) -> scripts.Provider:
        return self.providers[0]

    @property
    def client(self) -> httpx.AsyncClient:
        """With the key, at /v1."""
        return self.gateway.client

    async def chat(self, **fields: object) -> httpx.Response:
        """A chat request that holds the planted prompt, with or instead of these fields."""
        return await self.client.post(CHAT, json=planted(**fields))

    async def connect(self) -> Wire:
        """A connection for raw bytes; closed at the end."""
        wire = await Wire.connect(self.gateway.port)
        self._wires.append(wire)
        return wire

    def refused(
        self, response: Response, status: int, code: str | None = None, *, param: str | None = None
    ) -> dict[str, Any]:
        """Checks the status and OpenAI's envelope; gives the error."""
        assert response.status_code == status, response.content[:500]
        body = json.loads(response.content)
        assert list(body) == ["error"], body
        error: dict[str, Any] = body["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        if code is not None:
            assert error["code"] == code, error
        if param is not None:
            assert error["param"] == param, error
        _check_secrecy("the refusal", response.content.decode())
        return error

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        self.gateway.parts.lines.flush()
        return [json.loads(line) for line in self.outputs.stdout().splitlines()]

    async def health(self, path: str) -> httpx.Response:
        """What the health port says."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.gateway.parts.health_app),
            base_url="http://health",
            trust_env=False,
        )
        async with client:
            return await client.get(path)

    # --- what must hold after every fault

    async def hang_up(self) -> None:
        await self.client.aclose()
        for wire in self._wires:
            await wire.close()

    async def check(self, base: Base) -> None:
        await self._settled(base)
        await self._next_is_answered()
        await self._settled(base)
        lines = self.lines()
        failed = [line for line in lines if line["status"] == 500]
        assert failed == [], f"status 500: {failed}"
        for path in HEALTH_PATHS:
            _check_secrecy(path, (await self.health(path)).text)
        _check_secrecy("the access log", self.outputs.stdout())
        _check_secrecy("the log", self.outputs.logged())
        assert self._audited() == _to_the_api(lines)
        assert "Traceback" not in self.outputs.logged(), self.outputs.logged()

    def _audited(self) -> list[str]:
        """The requests that have a record."""
        audit = self.gateway.parts.audit
        assert audit is not None
        audit.flush()
        text = self.audit_file.read_text()
        _check_secrecy("the audit records", text)
        records = [json.loads(line) for line in text.split("\n") if line]
        return _to_the_api([record for record in records if record["event"] == "request"])

    async def _next_is_answered(self) -> None:
        for each in self.providers:
            each._queue.clear()
            each._on_connect = ()
            each.answer = self.next_answer
        wire = await Wire.connect(self.gateway.port)
        wire.send(raw_request("connection: close", **planted(**self.next_request)))
        answer = await wire.answer()
        await wire.close()
        assert answer.status_code == self.next_status, f"the next request: {answer}"

    async def _settled(self, base: Base) -> None:
        """All that the requests took is given back, at once or nearly."""
        end = time.monotonic() + self.settle_s
        while left := self._left(base):
            assert time.monotonic() < end, left
            await asyncio.sleep(0.002)

    def _left(self, base: Base) -> dict[str, object]:
        parts, state = self.gateway.parts, self.gateway.server.server_state
        pools = parts.client._pools.values()
        tasks = other_tasks() - base.tasks
        tasks -= {peer.task for each in self.providers for peer in each.peers}
        upstream_files = sum(len(pool.connections) for pool in pools)
        peers = sum(len(each.open_peers) for each in self.providers)
        left: dict[str, object] = {
            "requests in flight": parts.traffic.in_flight,
            "client connections": len(state.connections),
            "busy provider connections": sum(
                len(pool.connections) - len(pool._idle) for pool in pools
            ),
            "provider connections not ours": peers - upstream_files,
            "tasks": [*map(repr, tasks)],
            # Fewer than before: something of an earlier test went only now.
            "files": max(0, open_files() - upstream_files - peers - base.files),
        }
        return {name: value for name, value in left.items() if value}


def _to_the_api(told: list[dict[str, Any]]) -> list[str]:
    """Ids, in order. What is asked of a path that there is not is logged alone."""
    return [each["request_id"] for each in told if each.get("error") != "unknown_url"]


def _check_secrecy(where: str, text: str) -> None:
    found = canaries.found_in(text)
    assert found == [], f"{where} holds {found}: {text}"


def planted(**fields: object) -> dict[str, object]:
    return question(messages=[{"role": "user", "content": canaries.PROMPT}]) | fields


@dataclass(frozen=True, slots=True)
class Base:
    """What there was before the first request."""

    files: int
    tasks: set[asyncio.Task[Any]]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def other_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


class Outputs(logging.Handler):
    """What the access log writes, and all that is logged, at DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.fd = os.memfd_create("stdout")
        self._formatted: list[str] = []
        self._formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self._formatted.append(self._formatter.format(record))

    def logged(self) -> str:
        return "\n".join(self._formatted)

    def stdout(self) -> str:
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0).decode()

    @contextmanager
    def captured(self) -> Iterator[None]:
        root = logging.getLogger()
        loggers = [root, *map(logging.getLogger, NOT_OURS)]
        levels = [logger.level for logger in loggers]
        root.addHandler(self)
        for logger in loggers:
            logger.setLevel(logging.DEBUG if logger is root else logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.removeHandler(self)
            os.close(self.fd)


@asynccontextmanager
async def standing(
    root: Path,
    *,
    providers: int = 1,
    config: Callable[..., Config] | None = None,
    credentials: dict[str, str] | None = None,
    settle_s: float = SETTLE_S,
    **settings: object,
) -> AsyncIterator[Stand]:
    """`config` is given the providers' URLs; without it they are one pool, tried in their order."""
    async with AsyncExitStack() as stack:
        outputs = Outputs()
        stack.enter_context(outputs.captured())
        started = [
            await stack.enter_async_context(scripts.Provider(FINE)) for _ in range(providers)
        ]
        urls = [f"{each.url}/v1" for each in started]
        made = (config or in_order)(*urls)
        audit_file = root / "audit.jsonl"
        settings = {"audit": str(audit_file), **settings}
        served = await stack.enter_async_context(gateway(root, made, credentials, **settings))
        served.parts.lines._fd = outputs.fd  # pytest's own hold on 1 comes and goes
        stand = Stand(served, started, outputs, audit_file, settle_s=settle_s)
        base = Base(open_files(), other_tasks())
        try:
            yield stand
        finally:
            await stand.hang_up()
        await stand.check(base)


def in_order(*urls: str) -> Config:
    return bundles.config(
        *(
            bundles.provider(url, name=f"provider-{number}", priority=number)
            for number, url in enumerate(urls)
        )
    )
