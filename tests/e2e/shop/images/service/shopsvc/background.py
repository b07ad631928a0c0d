"""Faults that act on their own, without a request: burning CPU, leaking or holding memory, holding connections, locking a table."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Coroutine
from typing import Any

from . import memory
from .faults import Faults
from .stores import Postgres

LEAK_STEP_SECONDS = 0.25
log = logging.getLogger(__name__)


class Tasks:
    """The background tasks of a service; leaving the context ends them all."""

    def __init__(self, postgres: Postgres | None) -> None:
        self._postgres = postgres
        self._running: set[asyncio.Task] = set()
        self._faulty: list[asyncio.Task] = []
        self._burners: list[multiprocessing.Process] = []

    async def __aenter__(self) -> Tasks:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.follow(Faults())
        for task in self._running:
            task.cancel()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task:
        task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception():
            log.error("a background task died", exc_info=task.exception())

    def follow(self, faults: Faults) -> None:
        """Do what `faults` say from now on, and nothing of what was before."""
        for task in self._faulty:
            task.cancel()
        self._faulty.clear()
        if faults.leak_mib_per_second:
            self._faulty.append(self.start(_leak(faults.leak_mib_per_second)))
        if faults.memory_share:
            self._faulty.append(self.start(_hold(faults.memory_share)))
        if self._postgres and faults.lock_table:
            self._faulty.append(self.start(_lock(self._postgres, faults)))
        if self._postgres and self._postgres.connected:
            self.start(self._postgres.hold(faults.hold_connections))
        self._burn(faults.burn_processes)

    def _burn(self, processes: int) -> None:
        while len(self._burners) > processes:
            burner = self._burners.pop()
            burner.kill()
            burner.join()
        while len(self._burners) < processes:
            burner = multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
            burner.start()
            self._burners.append(burner)


def _burn() -> None:
    while True:
        pass


async def _leak(mib_per_second: float) -> None:
    """Take memory and touch it; given back only when the task ends."""
    kept = []
    while True:
        kept.append(bytearray(b"x") * int(mib_per_second * LEAK_STEP_SECONDS * 2**20))
        await asyncio.sleep(LEAK_STEP_SECONDS)


async def _hold(share: float) -> None:
    """Fill the container's memory up to that share of its limit; given back only when the task ends."""
    kept = []
    while True:
        missing = share * memory.limit() - memory.used()
        if missing > 2**20:
            kept.append(bytearray(b"x") * int(min(missing, 8 * 2**20)))
        await asyncio.sleep(LEAK_STEP_SECONDS)


async def _lock(postgres: Postgres, faults: Faults) -> None:
    pause = max(0.0, faults.lock_period_seconds - faults.lock_hold_seconds)
    while True:
        try:
            await postgres.lock(faults.lock_table, faults.lock_hold_seconds)
        except Exception as error:  # the next round tries again, whatever the driver raised
            log.error("lock not taken: %s", error)
        await asyncio.sleep(pause)
