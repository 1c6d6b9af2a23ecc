"""A request to an API that has a surface: read, checked, and ready to be routed."""

import time
from functools import partial

from runestone_sidecar.edge.bodies import Bodies
from runestone_sidecar.edge.request import (
    JsonBody,
    Receive,
    Scope,
    forwarded_headers,
    header_text,
    parse,
)
from runestone_sidecar.pipeline.aside import aside
from runestone_sidecar.pipeline.plan import Record
from runestone_sidecar.pipeline.prepare import Incoming, build_query
from runestone_sidecar.upstream.surfaces.base import Surface


def take_incoming(
    surface: Surface, scope: Scope, record: Record, bodies: Bodies
) -> Incoming | None:
    """Of a small request that has come whole; None: `read_incoming` it. Raises GatewayError."""
    body = bodies.take_json(scope)
    return None if body is None else _incoming(surface, scope, record, body)


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
    if not body.is_heavy:
        return _incoming(surface, scope, record, body, is_estimate=is_estimate)
    make = partial(_incoming, surface, scope, record, body, is_estimate=is_estimate)
    incoming = await aside(make)
    incoming.query = await aside(partial(build_query, incoming))
    return incoming


def _incoming(
    surface: Surface, scope: Scope, record: Record, body: JsonBody, *, is_estimate: bool = False
) -> Incoming:
    lines = forwarded_headers(scope, surface.forwarded) if surface.forwarded else b""
    request = parse(surface, body, record.request_id, time.time(), lines)
    size = None if is_estimate else len(body.raw)
    return Incoming(surface, request, partial(header_text, scope), size)
