"""The HTTP side: /metrics (gzip when asked for), /samples and /healthz."""

import gzip
import logging
import select
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .exposition import CONTENT_TYPE

log = logging.getLogger(__name__)


def parse_listen(text: str) -> tuple[str, int]:
    """`ADDR:PORT`, `[::]:PORT` or `:PORT` -> (address, port). ValueError says what is wrong."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not ADDR:PORT, as in 0.0.0.0:10301")
    return address.strip("[]") or "0.0.0.0", int(port)


def serve(
    listen: tuple[str, int],
    scrape: Callable[[str], tuple[str, Callable[[], None]]],
    healthy: Callable[[], str],
    samples: Callable[[], str],
) -> ThreadingHTTPServer:
    """Start serving in the background. OSError when the address is taken.

    `scrape` is given the reader's address, and returns the page and what to call once it is delivered; `healthy` returns "" or
    what is wrong; `samples` lines of JSON.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30  # a client that stops talking must not hold a thread
        server_version = "appstatus-agent"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                page, delivered = scrape(self.client_address[0])
                gave_up = self._client_gave_up()
                self._answer(200, page, CONTENT_TYPE)
                if not gave_up:
                    delivered()
            elif path == "/healthz":
                wrong = healthy()
                self._answer(503 if wrong else 200, wrong or "ok\n")
            elif path == "/samples":
                self._answer(200, samples(), "application/jsonl")
            else:
                self._answer(404, "Here are /metrics, /samples and /healthz.\n")

        def _client_gave_up(self) -> bool:
            """It has closed the connection: what is then written goes nowhere, but the first write does not say so."""
            poller = select.poll()
            poller.register(self.connection, select.POLLRDHUP)
            return bool(poller.poll(0))

        def _answer(self, status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1024:
                body = gzip.compress(body, compresslevel=1)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug("%s %s", self.address_string(), format % args)

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        daemon_threads = True

    server = Server(listen, Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
