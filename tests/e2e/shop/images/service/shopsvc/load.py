"""The users of the shop: an open loop at a constant rate, whatever the answers take, and a record of what they saw.

Environment: TARGET (base URL), ROUTES (JSON object: path -> weight), RATE (requests/s), TIMEOUT (s), PORT (of /metrics).
Writes one JSON line per second to users.jsonl in STATE_DIRECTORY (record.py has the shape) and a sentence per 10 s to stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

import prometheus_client
from aiohttp import web

from . import client
from .faults import STATE, FaultFile
from .record import Book

MAX_BYTES = 32 * 2**20  # of users.jsonl; one older file is kept
SUMMARY_SECONDS = 10
SETTLED = 20  # good answers in a row before the first counted request
log = logging.getLogger("load")

REQUESTS = prometheus_client.Counter("shop_users_requests", "Requests by how they ended for the user", ["route", "outcome"])
LATENCY = prometheus_client.Histogram(
    "shop_users_latency_seconds",
    "Latency of good answers, from when the request was due",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0),
)


class Journal:
    """Appends records to a file that never grows beyond MAX_BYTES."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes

    def append(self, records: list[dict]) -> None:
        if self._path.exists() and self._path.stat().st_size > self._max_bytes:
            self._path.rename(self._path.with_suffix(".old.jsonl"))
        with self._path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


class Load:
    def __init__(self, target: str, routes: dict[str, float], rate: float, timeout: float) -> None:
        self._target, self._routes, self._rate, self._timeout = target.rstrip("/"), routes, rate, timeout
        self._fault_file = FaultFile(base=os.environ.get("FAULTS", ""))
        self._book = Book()
        self._journal = Journal(STATE / "users.jsonl")
        self._open: set[asyncio.Task] = set()
        self._http = client.session(limit=0)

    async def run(self) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        runner = await _serve_metrics(int(os.environ.get("PORT", "8080")))
        watching = asyncio.ensure_future(self._fault_file.watch())
        work = asyncio.ensure_future(self._settle_and_send())
        telling = asyncio.ensure_future(self._tell())
        await asyncio.wait([asyncio.ensure_future(stop.wait()), work, telling], return_when=asyncio.FIRST_COMPLETED)
        for task in (work, watching, telling, *self._open):
            task.cancel()
        for task in (work, telling):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._http.close()
        await runner.cleanup()

    async def _settle_and_send(self) -> None:
        """Users come once the shop is open; from then on every request counts."""
        routes = list(self._routes)
        good = 0
        while good < SETTLED:
            try:
                status = await client.get(self._http, self._target + routes[good % len(routes)], self._timeout)
            except client.CallFailed:
                status = 0
            good = good + 1 if status == 200 else 0
            await asyncio.sleep(0.05 if status == 200 else 1.0)
        log.info("the shop is open: %g requests/s to %s", self._rate, self._target)
        await self._send(routes)

    async def _send(self, routes: list[str]) -> None:
        weights = list(self._routes.values())
        due = time.time()
        while True:
            await asyncio.sleep(max(0.0, due - time.time()))
            rate = self._fault_file.current.rate or self._rate
            route = random.choices(routes, weights)[0]
            task = asyncio.ensure_future(self._one(due, route, rate))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            due += 1 / rate

    async def _one(self, due: float, route: str, rate: float) -> None:
        second = self._book.sent(due, route, rate)
        try:
            status = await client.get(self._http, self._target + route, self._timeout)
            failure = "" if status == 200 else str(status)
        except client.CallFailed as error:
            failure = error.reason
        latency = time.time() - due
        self._book.ended(second, route, due, latency, failure)
        REQUESTS.labels(route, failure or "ok").inc()
        if not failure:
            LATENCY.labels(route).observe(latency)

    async def _tell(self) -> None:
        summary: list[dict] = []
        while True:
            await asyncio.sleep(0.5)
            records = self._book.complete(time.time())
            self._journal.append(records)
            summary += records
            if len(summary) >= SUMMARY_SECONDS:
                log.info("%s", sentence(summary))
                summary = []


def sentence(records: list[dict]) -> str:
    """What users saw in the seconds of `records`, for a human."""
    sent, failed = (sum(record[key] for record in records) for key in ("sent", "failed"))
    slow = sum(record["slow"]["0.25"] for record in records)
    longest = max(record["longest"] for record in records)
    return f"{len(records)} s: {sent} sent, {failed} failed, {slow} slower than 250 ms, longest {longest:.3f} s"


async def _serve_metrics(port: int) -> web.AppRunner:
    async def metrics(request: web.Request) -> web.Response:
        kind = {"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}
        return web.Response(body=prometheus_client.generate_latest(), headers=kind)

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    return runner


async def _main() -> None:
    environment = os.environ
    load = Load(
        environment["TARGET"],
        json.loads(environment["ROUTES"]),
        float(environment["RATE"]),
        float(environment.get("TIMEOUT", "5")),
    )
    await load.run()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_main())
