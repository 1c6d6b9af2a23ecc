"""A provider's answer handed on as it is: its bytes, its type, its name for a file, no more."""

import asyncio
from typing import Final

from runestone_sidecar.edge.request import PROBED_BY, Send
from runestone_sidecar.edge.respond import Pinger, reply_headers, tell_lost
from runestone_sidecar.pipeline.forward import Forwarded
from runestone_sidecar.pipeline.plan import Record

NO_CONTENT: Final = 204


async def send_forwarded(send: Send, record: Record, reply: Forwarded) -> None:
    """Forwards until the end. An upstream lost on the way is told by a cut, and in a stream of
    events by an error before it.
    """
    record.status = reply.status
    pinger = Pinger(send, reply) if reply.takes_comments else None
    try:
        await send(_start(record, reply, pinger))
        data, reply.first = reply.first, b""
        while data and not reply.is_whole:
            if pinger is not None:
                pinger.sending = True
            await send({"type": "http.response.body", "body": data, "more_body": True})
            if pinger is not None:
                pinger.sent()
            data = await reply.next()
        await send({"type": "http.response.body", "body": data})
    except (Exception, asyncio.CancelledError) as lost:
        if not await tell_lost(send, record, reply, lost):
            raise
    finally:
        if pinger is not None:
            pinger.close()
        record.usage = reply.usage
        reply.close()


def _start(record: Record, reply: Forwarded, pinger: Pinger | None) -> dict[str, object]:
    headers = reply_headers(record, reply.content_type)
    if reply.status == NO_CONTENT:  # and nothing may say of what kind or size
        return {"type": "http.response.start", "status": reply.status, "headers": headers[1:]}
    if reply.disposition is not None:
        headers.append((b"content-disposition", reply.disposition))
    if reply.is_whole:
        headers.append((b"content-length", b"%d" % len(reply.first)))
    elif reply.length is not None:
        headers.append((b"content-length", reply.length))
    if reply.is_events:
        headers.append((b"cache-control", b"no-cache"))
    start: dict[str, object] = {"status": reply.status, "headers": headers}
    if pinger is not None:
        start[PROBED_BY] = pinger.probe
    return {"type": "http.response.start", **start}
