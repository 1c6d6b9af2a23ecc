"""Stands in for sidecars where only their answer to /health/config matters: one address each.

All of them share one port, as pods do, on the addresses 127.0.0.2 and following.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COUNT = 40


class HealthEndpoint:
    """Answers as told, from an address of its own."""

    def __init__(self, listener: socket.socket) -> None:
        self.ip = listener.getsockname()[0]
        self.answer: bytes | None = None  # None: the connection is closed without an answer
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoint.asked += 1
                if self.path != "/health/config" or endpoint.answer is None:
                    self.close_connection = True
                    return
                self.send_response(endpoint.status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(endpoint.answer)))
                self.end_headers()
                self.wfile.write(endpoint.answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(listener.getsockname(), Handler, False)
        self._server.socket.close()
        self._server.socket = listener
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._server.server_activate()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def runs(self, digest: str, credentials: str) -> None:
        said = {"digest": digest, "credentials": credentials, "namespace": "-", "refused": None}
        self.answer = json.dumps(said).encode()


class HealthEndpoints:
    """Enough of them for a module of tests; each is handed out once."""

    def __init__(self) -> None:
        self._listeners = _listeners()
        self.port: int = self._listeners[0].getsockname()[1]
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        for listener in self._listeners:
            listener.close()

    def take(self) -> HealthEndpoint:
        return self._running.enter_context(HealthEndpoint(self._listeners.pop()))


def _listeners() -> list[socket.socket]:
    """Of the kernel's choice, and the same port on every address."""
    while True:
        listeners = [_bound("127.0.0.2", 0)]
        port = listeners[0].getsockname()[1]
        try:
            listeners += [_bound(f"127.0.0.{number}", port) for number in range(3, COUNT + 2)]
        except OSError:
            for listener in listeners:
                listener.close()
        else:
            return listeners


def _bound(ip: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.bind((ip, port))
    except OSError:
        listener.close()
        raise
    return listener


def free_shared_port() -> int:
    """That no address of those has in use; given up again, for processes that are to bind it."""
    listeners = _listeners()
    port: int = listeners[0].getsockname()[1]
    for listener in listeners:
        listener.close()
    return port
