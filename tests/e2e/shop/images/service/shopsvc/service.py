"""A service of the shop: answers a request by its own work, calls to others, one SQL statement, one Redis command.

`python3 -m shopsvc.service` serves (and does a unit of work every EVERY_SECONDS, if set); `--once N` does N units and exits,
1 if one of them failed. Configuration: config.py. Faults: faults.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from urllib.parse import urlsplit

from aiohttp import web

from . import background, client, config
from .faults import Bag, FaultFile, Faults
from .stores import Postgres, Redis, StoreFailed

DRAIN_SECONDS = 4.0  # from SIGTERM: endpoints leave the proxies' tables meanwhile
HANG_SECONDS = 600.0
RETRY_SECONDS = 0.5
log = logging.getLogger("service")


class Service:
    def __init__(self, settings: config.Config) -> None:
        self.settings = settings
        self.fault_file = FaultFile(base=settings.faults)
        self.http = client.session()
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        if settings.sql:
            self.postgres = Postgres(settings.postgres_dsn, settings.sql, settings.pool_size, settings.store_timeout)
        if settings.redis_command:
            self.redis = Redis(settings.redis_url, settings.redis_command, settings.pool_size, settings.store_timeout)
        self.ready = False
        self.draining = False
        self._errors, self._slow, self._hangs = Bag(), Bag(), Bag()

    @property
    def faults(self) -> Faults:
        return self.fault_file.current

    async def wait_for_dependencies(self) -> None:
        """Not ready until each dependency answered once. Later outages do not make it unready: its clients shall see them."""
        for url in [url for stage in self.settings.calls for url in stage]:
            host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
            await self._until(url, lambda host=host, port=port: _connects(host, port))
        if self.postgres:
            await self._until("postgres", self.postgres.connect)
        if self.redis:
            await self._until("redis", self.redis.connect)
        self.ready = True
        log.info("ready")

    async def _until(self, what: str, attempt) -> None:
        told = False
        while True:
            try:
                await asyncio.wait_for(attempt(), 5.0)
                return
            except Exception as error:  # whatever a driver raises while its server starts
                if not told:
                    log.info("waiting for %s: %s", what, error or type(error).__name__)
                    told = True
                await asyncio.sleep(RETRY_SECONDS)

    async def work(self) -> int:
        """One unit of work; the HTTP status it deserves. Failures are logged with their reason."""
        faults = self.faults
        if self._hangs.hit(faults.hang_share):
            await asyncio.sleep(HANG_SECONDS)
        if self._errors.hit(faults.error_share):
            log.error("cannot answer: internal error")
            return 500
        if self._slow.hit(faults.slow_share):
            await asyncio.sleep(faults.slow_seconds)
        _burn(self.settings.work_ms + faults.work_ms)
        try:
            for stage in self.settings.calls:
                # All of a stage end before the first failure is told, as a fan-out that waits for all does.
                results = await asyncio.gather(*map(self._call, stage), return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result
            if self.redis:
                await self.redis.run()
            if self.postgres:
                await self.postgres.run()
        except (client.CallFailed, StoreFailed) as error:
            log.error("cannot answer: %s", error)
            return error.status
        return 200

    async def _call(self, url: str) -> None:
        status = await client.get(self.http, url, self.settings.call_timeout)
        if status >= 400:
            raise client.CallFailed(url, f"status {status}", 502)

    async def answer(self, request: web.Request) -> web.Response:
        status = await self.work()
        response = web.json_response({"service": self.settings.name, "status": status}, status=status)
        if self.draining:
            response.force_close()
        return response

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(self, request: web.Request) -> web.Response:
        good = self.ready and not self.draining
        return web.Response(text="ready\n" if good else "not ready\n", status=200 if good else 503)

    async def every(self, seconds: float) -> None:
        while True:
            await self.work()
            await asyncio.sleep(seconds)

    async def serve(self) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        app = web.Application()
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/readyz", self.readiness)
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", self.settings.port).start()
        async with background.Tasks(self.postgres) as tasks:
            tasks.start(self.fault_file.watch(tasks.follow))
            await self._first_done(stop.wait(), self.wait_for_dependencies())
            tasks.follow(self.faults)  # what needs the connections that are there only now
            if self.ready and self.settings.every_seconds:
                tasks.start(self.every(self.settings.every_seconds))
            await stop.wait()
            self.draining = True
            log.info("stopping: closing connections for %g s", DRAIN_SECONDS)
            await asyncio.sleep(DRAIN_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), 2.0)
        await self.http.close()

    async def once(self, times: int) -> int:
        await self.wait_for_dependencies()
        statuses = [await self.work() for _ in range(times)]
        await self.http.close()
        failed = sum(status != 200 for status in statuses)
        log.info("done: %d of %d units of work failed", failed, times)
        return 1 if failed else 0

    @staticmethod
    async def _first_done(*coroutines) -> None:
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()


def _burn(milliseconds: float) -> None:
    """Use CPU time, not time: a throttled or starved container takes longer for it."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


async def _connects(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def _main(arguments: argparse.Namespace) -> int:
    service = Service(config.read(os.environ))
    if arguments.once:
        return await service.once(arguments.once)
    await service.serve()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", type=int, metavar="N", help="do N units of work and exit")
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return asyncio.run(_main(parser.parse_args()))
    except ValueError as error:
        log.critical("cannot start: %s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
