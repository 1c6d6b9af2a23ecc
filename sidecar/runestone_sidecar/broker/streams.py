"""JetStream as far as jobs need it: records with revisions, and a queue that is acknowledged.

Spoken as requests: the client's own classes keep state for each connection, ask more often, and
know neither a message's time to live nor its expected revision.
"""

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from runestone_sidecar.broker.faults import (
    LOST,
    Away,
    Full,
    Missing,
    NameInUse,
    Refused,
    Unfit,
    WrongRevision,
    told,
)
from runestone_sidecar.broker.link import Link

ANSWER_S: Final = 5.0
PAGE: Final = 256
HEADROOM_BYTES: Final = 4096  # of a message, for its headers
VERSION_OF_CONFIG: Final = "runestone.dev/config-version"

_WRONG_REVISION: Final = frozenset({10071, 10164})
_FULL: Final = frozenset({10023, 10047, 10077})  # no resources, no storage, a maximum
_NAME_IN_USE: Final = frozenset({10058, 10148})  # a stream's, a consumer's: by another form of it
_NO_STREAM: Final = 10059
_NO_MESSAGE: Final = 10037
_GONE: Final = frozenset({10043, 10057})  # what was to be deleted
_NEXT: Final = b'{"batch":1,"no_wait":true}'

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    subject: str
    revision: int
    data: bytes
    headers: Headers = field(default_factory=dict)
    stored_at: str = ""  # by the server's clock


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message of a queue that is ours until its ack wait is over."""

    data: bytes
    headers: Headers
    seq: int  # in the stream
    delivered: int  # how often, this time included
    reply: str


class Streams:
    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    @property
    def up_since_s(self) -> float | None:
        """When the connection that stands was made; None: there is none."""
        return self._link.since_s

    @property
    def up_for_s(self) -> float:
        since_s = self._link.since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def follow(self, follower: Callable[[bool], None]) -> None:
        """It is called with each connection that is made or lost."""
        self._link.follow(lambda client: follower(client is not None))

    @property
    def max_bytes(self) -> int:
        """Of one message's payload."""
        return self._client().max_payload - HEADROOM_BYTES

    async def ensure_stream(self, wanted: Mapping[str, Any], *, version: int) -> dict[str, Any]:
        """What the server says of it once it is there and is like that, or as a later version of
        us wants it. Raises BrokerError; Unfit where it cannot be changed to be so."""
        name = wanted["name"]
        config = {**wanted, "metadata": {VERSION_OF_CONFIG: str(version)}}
        with contextlib.suppress(NameInUse):
            return await self._api(f"STREAM.CREATE.{name}", config)
        found = await self._api(f"STREAM.INFO.{name}", {})
        if _version_of(found["config"]) > version:
            return found
        # How many copies there are, and where, is settled when it is made: a NATS administrator
        # may have moved it since.
        kept = {**found["config"], **config, "num_replicas": found["config"]["num_replicas"]}
        with _named(name):
            return await self._api(f"STREAM.UPDATE.{name}", kept)

    async def ensure_consumer(
        self, stream: str, wanted: Mapping[str, Any], *, version: int
    ) -> None:
        """As a stream is."""
        name = wanted["durable_name"]
        subject = f"CONSUMER.DURABLE.CREATE.{stream}.{name}"
        config = {**wanted, "metadata": {VERSION_OF_CONFIG: str(version)}}
        with contextlib.suppress(NameInUse):
            body = {"stream_name": stream, "config": config, "action": "create"}
            await self._api(subject, body)
            return
        found = await self._api(f"CONSUMER.INFO.{stream}.{name}", {})
        if _version_of(found["config"]) > version:
            return
        with _named(f"{stream} {name}"):
            await self._api(subject, {"stream_name": stream, "config": config})

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        ttl_s: int,
        revision: int | None = None,
        message_id: str | None = None,
    ) -> int:
        """Its revision. With a `revision`, only where that is the subject's last (0: none yet)."""
        headers = {"Nats-TTL": f"{max(1, ttl_s)}s"}
        if revision is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(revision)
        if message_id is not None:
            headers["Nats-Msg-Id"] = message_id
        answer = await self._request(subject, data, headers)
        return int(_checked(answer.data)["seq"])

    async def latest(self, stream: str, subject: str) -> Stored | None:
        """As the stream's leader has it: what a revision is decided by. A pattern that only one
        subject fits is one too."""
        return await self._message(stream, {"last_by_subj": subject})

    async def at(self, stream: str, revision: int) -> Stored | None:
        return await self._message(stream, {"seq": revision})

    async def first(
        self, stream: str, subject: str, *, start: int = 0, stored_at: str = ""
    ) -> Stored | None:
        """The first message that is not before that one, or that time."""
        since = {"start_time": stored_at} if stored_at else {"seq": max(1, start)}
        return await self._message(stream, {"next_by_subj": subject, **since})

    async def _message(self, stream: str, query: Mapping[str, Any]) -> Stored | None:
        try:
            answer = await self._api(f"STREAM.MSG.GET.{stream}", query)
        except Refused as refused:
            if refused.code == _NO_MESSAGE:
                return None
            raise
        found = answer["message"]
        return Stored(
            found["subject"],
            int(found["seq"]),
            base64.b64decode(found.get("data", "")),
            _headers(base64.b64decode(found.get("hdrs", ""))),
            found["time"],
        )

    async def last(self, stream: str, subject: str) -> Stored | None:
        """As any replica has it: quicker, for what is written once."""
        answer = await self._request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")
        return _stored(answer)

    async def scan(self, stream: str, subjects: str, *, start: int = 1) -> AsyncIterator[Stored]:
        """The last messages of all subjects of a pattern, oldest first, page by page."""
        while True:
            page = await self._page(stream, {"next_by_subj": subjects, "seq": start})
            for found in page:
                yield found
            if len(page) < PAGE:
                return
            start = page[-1].revision + 1

    async def _page(self, stream: str, query: Mapping[str, Any]) -> list[Stored]:
        client = self._client()
        inbox = client.new_inbox()
        page: list[Stored] = []
        with told():
            listening = await client.subscribe(inbox)
        try:
            with told():
                await client.publish(
                    f"$JS.API.DIRECT.GET.{stream}",
                    json.dumps({**query, "batch": PAGE}).encode(),
                    reply=inbox,
                )
            while True:
                with told():
                    message = await listening.next_msg(timeout=ANSWER_S)
                found = _stored(message)
                if found is None:
                    return page
                page.append(found)
        finally:
            with contextlib.suppress(*LOST):
                await listening.unsubscribe()

    async def purge(self, stream: str, subjects: str) -> None:
        await self._api(f"STREAM.PURGE.{stream}", {"filter": subjects})

    async def delete(self, stream: str, revision: int) -> bool:
        """That one alone: False where it is gone, or something newer stands in its place."""
        try:
            await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": revision, "no_erase": True})
        except Refused as refused:
            if refused.code in _GONE:
                return False
            raise
        return True

    async def state(self, stream: str, subjects: str) -> dict[str, Any]:
        """Of a stream, with the count of messages of each subject."""
        answer = await self._api(f"STREAM.INFO.{stream}", {"subjects_filter": subjects})
        state: dict[str, Any] = answer["state"]
        return state

    async def next(self, stream: str, consumer: str) -> Delivery | None:
        """None where nothing waits. Raises Missing where there is no such consumer."""
        client = self._client()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        try:
            with told():
                # Not by the shared inbox: a message keeps its own subject, which says not whose.
                message = await client.request(subject, _NEXT, timeout=ANSWER_S, old_style=True)
        except Refused as refused:
            raise Missing(refused.code) from refused
        headers = message.headers or {}
        if (status := headers.get("Status")) is not None:
            if status == "503":
                raise Missing(503)
            return None
        parts = message.reply.split(".")  # $JS.ACK.(domain.account.)stream.consumer.n.seq.cseq...
        at = 2 if len(parts) < 11 else 4
        return Delivery(
            data=message.data,
            headers=headers,
            seq=int(parts[at + 3]),
            delivered=int(parts[at + 2]),
            reply=message.reply,
        )

    async def ack(self, delivery: Delivery) -> None:
        await self.tell(delivery.reply, b"+ACK")

    async def nak(self, delivery: Delivery, *, delay_s: float = 0.0) -> None:
        await self.tell(delivery.reply, b'-NAK {"delay":%d}' % int(delay_s * 1e9))

    async def keep(self, delivery: Delivery) -> None:
        """It is being worked on: the ack wait begins anew."""
        await self.tell(delivery.reply, b"+WPI")

    async def tell(self, subject: str, data: bytes = b"") -> None:
        """To whoever listens; raises Away or Unsure where it surely did not get out."""
        client = self._client()
        with told():
            await client.publish(subject, data)

    @contextlib.asynccontextmanager
    async def heard(self, subject: str, tell: Callable[[], None]) -> AsyncIterator[None]:
        """Calls `tell` for each message to the subject while it stands and the connection does."""

        async def on_message(_: Msg) -> None:
            tell()

        client = self._client()
        with told():
            listening = await client.subscribe(subject, cb=on_message)
        try:
            yield
        finally:
            with contextlib.suppress(*LOST):
                await listening.unsubscribe()

    @contextlib.asynccontextmanager
    async def answering(
        self, subject: str, answer: Callable[[bytes], bytes]
    ) -> AsyncIterator[None]:
        """Answers each question to the subject while it stands and the connection does."""

        async def on_message(message: Msg) -> None:
            with contextlib.suppress(*LOST):
                await client.publish(message.reply, answer(message.data))

        client = self._client()
        with told():
            listening = await client.subscribe(subject, cb=on_message)
        try:
            yield
        finally:
            with contextlib.suppress(*LOST):
                await listening.unsubscribe()

    async def ask(self, subject: str, data: bytes, *, inbox: str, within_s: float) -> bytes:
        """What one who listens there says. The answer goes to a subject of the namespace's own,
        for nobody may write to the inboxes of others. Raises Missing where nobody listens, and
        Unsure where no answer came."""
        client = self._client()
        with told():
            listening = await client.subscribe(inbox, max_msgs=1)
            try:
                await client.publish(subject, data, reply=inbox)
                message = await listening.next_msg(timeout=within_s)
            finally:
                await listening.unsubscribe()
        if (message.headers or {}).get("Status") == "503":
            raise Missing(503)
        return message.data

    async def _api(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._request(f"$JS.API.{verb}", json.dumps(body).encode())
        return _checked(answer.data)

    async def _request(self, subject: str, data: bytes, headers: Headers | None = None) -> Msg:
        client = self._client()
        with told():
            return await client.request(
                subject, data, timeout=ANSWER_S, headers=dict(headers) if headers else None
            )

    def _client(self) -> Client:
        client = self._link.client
        if client is None:
            raise Away
        return client


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except Full:
        raise
    except Refused as refused:
        raise Unfit(refused.code, name) from refused


def _version_of(config: Mapping[str, Any]) -> int:
    """Those of before there were versions have 0."""
    text = (config.get("metadata") or {}).get(VERSION_OF_CONFIG, "0")
    return int(text) if text.isdecimal() else 0


def _checked(data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(data)
    if (error := answer.get("error")) is None:
        return answer
    code = int(error.get("err_code", 0))
    if code in _WRONG_REVISION:
        raise WrongRevision(code)
    if code in _FULL:
        raise Full(code)
    if code == _NO_STREAM:
        raise Missing(code)
    if code in _NAME_IN_USE:
        raise NameInUse(code)
    raise Refused(code)


def _headers(block: bytes) -> Headers:
    """As NATS writes them: a line that says so, and a line each."""
    lines = (line.partition(":") for line in block.decode().splitlines()[1:])
    return {name: value.strip() for name, colon, value in lines if colon}


def _stored(message: Msg) -> Stored | None:
    headers = message.headers or {}
    if "Status" in headers:
        if headers["Status"] == "503":
            raise Missing(503)
        return None
    return Stored(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        message.data,
        headers,
        headers["Nats-Time-Stamp"],
    )
