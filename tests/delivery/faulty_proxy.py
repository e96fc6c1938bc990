"""A proxy in front of a real server that misbehaves on demand, as proxies and overloaded servers do."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", bytes], bool]
"""Takes the request and its body; True when it has answered (or not) by itself."""


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, unless the proxy's fault takes it."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, len(body)))
        fault = self.server.fault
        if fault is not None and fault(self, body):
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)
        try:
            # As a forward proxy it is told the whole URL.
            path = self.path.partition("://")[2]
            path = f"/{path.partition('/')[2]}" if path else self.path
            left_out = ("connection", "host", "proxy-connection")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            upstream.request(self.command, path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.answer(answer.status, content, answer.headers.get("Content-Type", "application/json"))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - names that the library asks for

    def answer(self, status: int, content: bytes = b"{}", media: str = "application/json", **headers: str) -> None:
        """Send an answer; underscores in names of headers become hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Tests need no log."""


class Proxy(ThreadingHTTPServer):
    """Listens on a port of loopback; `fault` may be set at any time.

    Attributes:
        requests: Path and size of each request so far.
    """

    daemon_threads = True
    # Threads of requests that hang must not be waited for.
    block_on_close = False

    def __init__(self, upstream_port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream_port = upstream_port
        self.fault: Fault | None = None
        self.requests: list[tuple[str, int]] = []
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, name="proxy", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


def refuse(status: int, **headers: str) -> Fault:
    """Answers every request with a status."""

    def fault(handler: Handler, body: bytes) -> bool:
        del body
        handler.answer(status, b"refused", "text/plain", **headers)
        return True

    return fault


def too_large(limit: int) -> Fault:
    """Refuses bodies above a limit, as a reverse proxy does."""

    def fault(handler: Handler, body: bytes) -> bool:
        if len(body) <= limit:
            return False
        handler.answer(413, b"<html>413 Request Entity Too Large</html>", "text/html")
        return True

    return fault


def hang(handler: Handler, body: bytes) -> bool:
    """Accepts and never answers."""
    del body
    handler.server.released.wait()
    handler.close_connection = True
    return True


def drop(handler: Handler, body: bytes) -> bool:
    """Closes the connection without a word, as a server that is down behind a balancer does."""
    del body
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def die_after_delivery(handler: Handler, body: bytes) -> bool:
    """Passes the request on and closes the connection in the midst of the answer: the client cannot know."""
    upstream = http.client.HTTPConnection("127.0.0.1", handler.server.upstream_port, timeout=60)
    try:
        upstream.request(handler.command, handler.path, body, dict(handler.headers.items()))
        upstream.getresponse().read()
    finally:
        upstream.close()
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"run"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True
