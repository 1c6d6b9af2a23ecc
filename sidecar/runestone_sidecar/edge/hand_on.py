"""A provider's answer handed on as it is: its bytes, its type, its name for a file, no more."""

import asyncio

from runestone_sidecar.edge.request import CLIENT_GONE, Send
from runestone_sidecar.edge.respond import reply_headers
from runestone_sidecar.errors import Draining, GatewayError, Internal, UpstreamFailed
from runestone_sidecar.pipeline.forward import Forwarded
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.upstream.faults import UpstreamFault


async def send_forwarded(send: Send, record: Record, reply: Forwarded) -> None:
    """Forwards until the end. An upstream lost on the way is told by a cut, and in a stream of
    events by an error before it.
    """
    record.status = reply.status
    try:
        await send(_start(record, reply))
        data, reply.first = reply.first, b""
        while data and not reply.is_whole:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            data = await reply.next()
        await send({"type": "http.response.body", "body": data})
    except UpstreamFault as fault:
        record.interrupted = fault.kind
        await _tell(send, record, reply, UpstreamFailed("The provider's answer was lost."))
    except GatewayError as error:  # of the request's body, which was still on its way
        record.interrupted = "request_refused"
        await _tell(send, record, reply, error)
    except asyncio.CancelledError as cancelled:
        if CLIENT_GONE not in cancelled.args:
            record.interrupted = "draining"
            await _tell(send, record, reply, Draining())
        raise
    except Exception:
        record.interrupted = "internal_error"
        await _tell(send, record, reply, Internal())
        raise
    finally:
        record.usage = reply.usage
        reply.close()


def _start(record: Record, reply: Forwarded) -> dict[str, object]:
    headers = reply_headers(record, reply.content_type)
    if reply.disposition is not None:
        headers.append((b"content-disposition", reply.disposition))
    if reply.is_whole:
        headers.append((b"content-length", b"%d" % len(reply.first)))
    elif reply.length is not None:
        headers.append((b"content-length", reply.length))
    if reply.is_events:
        headers.append((b"cache-control", b"no-cache"))
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _tell(send: Send, record: Record, reply: Forwarded, error: GatewayError) -> None:
    """Nothing is invented in a body that is not ours: it ends before it is whole."""
    if reply.is_events:
        frame = record.surface.error_frame(error, 0)
        if not reply.at_boundary:
            frame = b"\n\n" + frame
        await send({"type": "http.response.body", "body": frame, "more_body": True})
