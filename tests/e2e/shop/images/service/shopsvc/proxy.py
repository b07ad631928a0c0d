"""A TCP proxy in front of PostgreSQL: passes everything through, and can add delay or reset connections.

It is part of the shop at all times, as a connection pooler would be, so that a fault changes its behaviour and nothing else:
no Service is re-pointed and no workload appears when the network goes bad. Environment: LISTEN_PORT, UPSTREAM (host:port),
PORT (of /healthz and /readyz).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
import sys

from aiohttp import web

from .faults import Bag, FaultFile

CHUNK = 64 * 1024
log = logging.getLogger("proxy")


class Reset(Exception):
    """This connection is to be reset."""


class Proxy:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.fault_file = FaultFile(base=os.environ.get("FAULTS", ""))
        self.ready = False
        self._resets = Bag()

    async def check_upstream(self) -> None:
        while not self.ready:
            try:
                _, writer = await asyncio.open_connection(self._host, self._port)
                writer.close()
                self.ready = True
            except OSError:
                await asyncio.sleep(0.5)

    async def connection(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            log.error("upstream %s:%d: %s", self._host, self._port, error)
            _reset(client_writer)
            return
        pumps = [
            asyncio.ensure_future(self._pump(client_reader, server_writer, from_client=True)),
            asyncio.ensure_future(self._pump(server_reader, client_writer, from_client=False)),
        ]
        done, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        end = _reset if any(task.exception() for task in done) else _close
        end(client_writer)
        end(server_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        while data := await reader.read(CHUNK):
            faults = self.fault_file.current
            if from_client and faults.delay_seconds:
                await asyncio.sleep(faults.delay_seconds)
            if from_client and self._resets.hit(faults.reset_share):
                raise Reset
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n" if self.ready else "no upstream yet\n", status=200 if self.ready else 503)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with RST rather than FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _main() -> None:
    host, _, port = os.environ["UPSTREAM"].rpartition(":")
    proxy = Proxy(host, int(port))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.router.add_get("/healthz", proxy.health)
    app.router.add_get("/readyz", proxy.readiness)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", int(os.environ.get("PORT", "8080"))).start()
    server = await asyncio.start_server(proxy.connection, "0.0.0.0", int(os.environ["LISTEN_PORT"]))
    tasks = [asyncio.ensure_future(proxy.fault_file.watch()), asyncio.ensure_future(proxy.check_upstream())]
    await stop.wait()
    server.close()
    for task in tasks:
        task.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_main())
