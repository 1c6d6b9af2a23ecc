"""A request to an API that has a surface: read, checked, and ready to be routed."""

import time
from functools import partial

from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.request import Receive, Scope, forwarded_headers, header_text, parse
from runestone_sidecar.pipeline.aside import aside
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.pipeline.prepare import Incoming, build_query
from runestone_sidecar.upstream.surfaces.base import Surface


async def read_incoming(
    surface: Surface,
    scope: Scope,
    receive: Receive,
    record: Record,
    bodies: Bodies,
    *,
    is_estimate: bool = False,
) -> Incoming:
    """`is_estimate`: its tokens are what is asked for, however few they are. Raises GatewayError or
    ClientGone.
    """
    body = await bodies.read_json(scope, receive)
    checked = partial(
        parse,
        surface,
        body,
        request_id=record.request_id,
        now_s=time.time(),
        headers=forwarded_headers(scope, surface.forwarded),
    )
    incoming = Incoming(
        surface=surface,
        request=await aside(checked) if body.is_heavy else checked(),
        header=header_text(scope),
        body_bytes=None if is_estimate else len(body.raw),
    )
    if body.is_heavy:
        incoming.query = await aside(partial(build_query, incoming))
    return incoming
