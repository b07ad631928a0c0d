"""What can be wrong with a part of the shop, and how it learns of it while it runs.

A part reads its faults from the environment variable FAULTS (a release that was bad from the start) and from a file (a fault
switched on later; `shopsvc.control` writes it). The file outlives a restart of the container, not the pod.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

STATE = Path(os.environ.get("STATE_DIRECTORY", "/state"))
POLL_SECONDS = 0.25
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Faults:
    """All zero: healthy. Shares are in 0..1; a part ignores what it has no use for."""

    error_share: float = 0.0  # of requests answered 500
    slow_share: float = 0.0  # of requests that take slow_seconds longer
    slow_seconds: float = 0.4
    hang_share: float = 0.0  # of requests that are never answered
    work_ms: float = 0.0  # CPU time more per request
    burn_processes: int = 0  # processes that use all the CPU they get
    leak_mib_per_second: float = 0.0
    memory_share: float = 0.0  # of the container's memory limit, held
    hold_connections: int = 0  # of the database pool, taken and never given back
    lock_table: str = ""  # locked for lock_hold_seconds in every lock_period_seconds
    lock_hold_seconds: float = 0.7
    lock_period_seconds: float = 1.0
    delay_seconds: float = 0.0  # proxy: of what the client sends
    reset_share: float = 0.0  # proxy: of what the client sends, answered by a reset of the connection
    rate: float = 0.0  # load: requests per second instead of the configured ones

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                continue
            if not 0 <= value < float("inf"):
                raise ValueError(f"{field.name}: {value} must be 0 or more")
            if field.name.endswith("_share") and value > 1:
                raise ValueError(f"{field.name}: {value} is not a share, 0 to 1")
        if self.lock_table and not self.lock_table.isidentifier():
            raise ValueError(f"lock_table: {self.lock_table!r} is not a table's name")


def parse(text: str, base: Faults | None = None) -> Faults:
    """The faults that the JSON object `text` names, over those of `base`. ValueError says what is wrong with it."""
    values = json.loads(text or "{}")
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, not {text!r}")
    known = {field.name: type(field.default) for field in fields(Faults)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown fault {name!r}; known are {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, (int, float) if known[name] is float else known[name]):
            raise ValueError(f"{name}: {value!r} is not of type {known[name].__name__}")
    return Faults(**{**asdict(base or Faults()), **values})


class Bag:
    """Draws "hit" with an exact share: out of every 100 draws, round(100 x share) hit, in random order.

    Independent draws would scatter by sqrt(n); a fixed pattern could fall into step with the load's or a balancer's.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._share = 0.0
        self._draws: list[bool] = []

    def hit(self, share: float) -> bool:
        if share <= 0:
            return False
        if share != self._share or not self._draws:
            hits = round(100 * share)
            self._share, self._draws = share, [True] * hits + [False] * (100 - hits)
            self._random.shuffle(self._draws)
        return self._draws.pop()


def digest(text: str) -> str:
    """What `applied` holds when the faults in `text` are in effect."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class FaultFile:
    """Watches the file; says in the file `applied` beside it which content is in effect, and since when (epoch seconds)."""

    def __init__(self, directory: Path = STATE, base: str = "") -> None:
        self._file, self._applied = directory / "faults.json", directory / "applied.json"
        self._base = parse(base)
        self._modified: int | None = None
        self.current = self._base

    def poll(self, now: float) -> bool:
        """Read the file if it changed; whether the faults in effect changed with it."""
        try:
            modified = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if modified == self._modified:
            return False
        self._modified = modified
        text = self._file.read_text()
        try:
            self.current = parse(text, self._base)
        except ValueError as error:
            log.error("faults stay as they were: %s: %s", self._file, error)
            return False
        scratch = self._applied.with_suffix(".new")
        scratch.write_text(json.dumps({"digest": digest(text), "at": now}))
        scratch.rename(self._applied)
        log.warning("faults in effect: %s", text.strip())
        return True

    async def watch(self, changed: Callable[[Faults], None] = lambda faults: None) -> None:
        """Poll for ever; `changed` is called with what is in effect, first with what is there at the start."""
        self.poll(time.time())
        changed(self.current)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self.poll(time.time()):
                changed(self.current)
