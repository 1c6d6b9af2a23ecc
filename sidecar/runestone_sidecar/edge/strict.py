"""uvicorn's HTTP protocol, but for requests that are plain, and of a bounded size, alone.

llhttp refuses most of what is not HTTP; this adds what it lets pass (see head.py), and bounds what
may be collected before a request begins or beside its body.
"""

from functools import partial
from typing import Final
from urllib.parse import unquote

from uvicorn._types import ASGIVersions
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from runestone_sidecar.edge.cycle import Cycle, LazyEvent
from runestone_sidecar.edge.door import Door
from runestone_sidecar.edge.head import (
    SLASH,
    Head,
    Refused,
    check_head,
    check_part,
    is_valid_host,
)
from runestone_sidecar.edge.refusal import NOT_HTTP
from runestone_sidecar.edge.request import CYCLE
from runestone_sidecar.errors import GatewayError

MAX_SENT_AHEAD: Final = 100  # requests on one connection
MAX_FRAMING: Final = 8  # bytes of a chunked body for each that it holds, beside a head's bound
ASGI: Final[ASGIVersions] = {"version": "3.0", "spec_version": "2.3"}
NO_ACCESS_LOG: Final = False  # ours says more, and leaves out the query: it may hold a key
_NOTED: Final = frozenset({b"host", b"expect", b"transfer-encoding"})

IDLE, HEAD, BODY, ANSWER, LEAVING = range(5)
"""What is awaited of the client: a request, the rest of its head, of its body, that it takes the
answer, that it goes."""


class StrictProtocol(HttpToolsProtocol):
    """Its `feed` raises HttpParserError; `refusal_of` says what is wrong."""

    _stage = IDLE
    _since_s = 0.0  # when the stage began
    _host = b""  # the last one that was found valid: mostly there is only one
    _hosts = 0
    _is_coded = False
    _fed_bytes = 0  # the data that is being read
    _head_bytes = 0  # the data that a head took, but for its first
    _body_bytes = 0
    _framed_bytes = 0  # the data that a chunked body took, but for its first

    def __init__(
        self, door: Door, config: Config, server_state: ServerState, **more: object
    ) -> None:
        super().__init__(config, server_state, **more)  # type: ignore[arg-type]
        self._door = door
        self._bounds = door.bounds

    @classmethod
    def behind(cls, door: Door) -> "partial[StrictProtocol]":
        """As uvicorn makes protocols."""
        return partial(cls, door)

    def feed(self, data: bytes | memoryview) -> None:
        """Raises HttpParserError and HttpParserUpgrade, and Refused."""
        self._fed_bytes = len(data)
        self.parser.feed_data(data)
        if self._stage == HEAD:
            self._head_bytes += len(data)
            self._raise_if(check_part(self.url, self._head_bytes, self._bounds))
        elif self._stage == BODY:
            self._look_at_part(len(data))

    # --- what the parser calls: uvicorn's own, as far as this is needed, and the checks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._stage = HEAD
        self._since_s = self.loop.time()
        self._hosts = 0
        self._is_coded = False
        self._head_bytes = -self._fed_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _NOTED:
            self._note(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, url = self.parser, self.url
        method, version = parser.get_method(), parser.get_http_version()
        if (  # looked at closely only where something may be wrong
            self._hosts != 1
            or version != "1.1"
            or self._is_coded
            or url[0] != SLASH
            or b"#" in url
            or len(url) > self._bounds.url_bytes
            or len(self.headers) > self._bounds.header_fields
            or self._fed_bytes > self._bounds.head_bytes
            or self._head_bytes >= 0
        ):
            self._raise_if(check_head(Head(method, url, version, self.headers), self._bounds))
        path, _, query = url.partition(b"?")
        self._begin(method.decode(), version, path, query)
        self.headers = []  # trailers are nobody's headers
        self._stage = BODY
        self._since_s = self.loop.time()
        self._body_bytes = 0
        self._framed_bytes = -self._fed_bytes

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    # --- inside

    def _look_at_part(self, fed_bytes: int) -> None:
        """Of a body, of which more is to come; what is whole is told by `on_message_complete`."""
        if self.cycle.body:
            self.cycle.message_event.set()
        if self._is_coded:
            self._framed_bytes += fed_bytes
            if self._framed_bytes > self._bounds.head_bytes + MAX_FRAMING * self._body_bytes:
                self._raise_if(NOT_HTTP)

    def _begin(self, method: str, version: str, raw_path: bytes, query: bytes) -> None:
        """The request is started, or waits for those that were sent before it."""
        path = raw_path.decode("ascii")
        before = self.cycle
        self.scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "root_path": "",
            "method": method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
        }
        self.cycle = Cycle(  # by place: names would cost as much as all it does
            self.scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            NO_ACCESS_LOG,
            self.server_state.default_headers,
            LazyEvent(),  # type: ignore[arg-type]
            self.expect_100_continue,
            version != "1.0" and self.parser.should_keep_alive(),
            self.on_response_complete,
        )
        self.scope[CYCLE] = self.cycle  # type: ignore[typeddict-unknown-key]
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        elif len(self.pipeline) < MAX_SENT_AHEAD:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            raise Refused(NOT_HTTP)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            if value != self._host:
                if is_valid_host(value):
                    self._host = value
                else:
                    self._hosts = 2
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        else:
            self._is_coded = True

    def _raise_if(self, error: GatewayError | None) -> None:
        if error is not None:
            raise Refused(error)
