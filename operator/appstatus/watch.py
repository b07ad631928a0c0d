"""kopf, embedded: it only feeds the caches with watch events. No timers, daemons, indices, change handlers, finalizers, Events.

It runs in a thread with an event loop of its own and is started anew when it ends by itself: a watch that breaks must not take the
operator along.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import kopf

from appstatus.kube import ApiError, Kube, Unreachable
from appstatus.sources.kubernetes import Cache, Resource

log = logging.getLogger(__name__)

# How often each resource is compared with a listing of names, seconds.
SWEEP = 300.0


class _Endless:
    """Pauses between attempts to reach the API server; they never run out, so that an outage of any length ends by itself."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3)
        while True:
            yield 5


def settings() -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.networking.error_backoffs = _Endless()
    chosen.networking.connect_timeout = 5.0
    chosen.networking.request_timeout = 60.0
    chosen.watching.server_timeout = 300  # a whole number: the API server refuses 300.0
    chosen.process.ultimate_exiting_timeout = 20.0
    return chosen


def registry(cache: Cache) -> kopf.OperatorRegistry:
    """A handler for every watched resource that puts the event into the cache."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(_login)
    for resource in cache.resources.values():
        _watch(handlers, resource, cache)
    return handlers


def _login(**kwargs: Any) -> Any:
    return kopf.login_via_client(**kwargs)


def _watch(handlers: kopf.OperatorRegistry, resource: Resource, cache: Cache) -> None:
    async def feed(event: Any, **_: Any) -> None:
        if event["type"] == "DELETED":
            cache.drop(resource.plural, event["object"])
        else:
            cache.put(resource.plural, dict(event["object"]))

    kopf.on.event(resource.group, resource.version, resource.plural, id=f"feed-{resource.plural}", registry=handlers)(feed)


class Watch:
    """``synced`` once everything has been listed; ``alive`` while the event loop turns."""

    def __init__(self, kube: Kube, cache: Cache, stop: threading.Event) -> None:
        self._kube = kube
        self._cache = cache
        self._stop = stop
        self._beat = time.monotonic()
        self._started = time.monotonic()
        self._failing_since: float | None = None
        self.restarts = 0
        self.synced = threading.Event()

    def start(self) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._run, name="watch", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]
        for thread in threads:
            thread.start()
        return threads

    def age(self) -> float:
        """Seconds since the event loop last turned."""
        return time.monotonic() - self._beat

    def failing(self) -> float:
        """Seconds since which it has not stayed up for a minute; 0 if it has."""
        if self._failing_since is None or time.monotonic() - self._started > 60.0:
            return 0.0
        return time.monotonic() - self._failing_since

    def _run(self) -> None:
        self._fill()
        while not self._stop.is_set():
            self._started = time.monotonic()
            try:
                asyncio.run(self._operate())
            except Exception:
                log.exception("Watching ended by itself and starts anew")
            else:
                if self._stop.is_set():
                    return
                log.error("Watching ended by itself and starts anew")
            self.restarts += 1
            if self._failing_since is None or time.monotonic() - self._started > 60.0:
                self._failing_since = time.monotonic()
            self._stop.wait(2.0)

    async def _operate(self) -> None:
        beat = asyncio.create_task(self._keep_beating())
        try:
            await kopf.operator(
                registry=registry(self._cache),
                settings=settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=self._stop,
                # Else kopf looks the user's name up, and a uid of the cluster's choice has none. (The type, a str, is not public.)
                identity=cast(Any, "appstatus"),
            )
        finally:
            beat.cancel()

    async def _keep_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1.0)

    def _fill(self) -> None:
        """The first listing, before anything is judged: kopf does not tell when it has delivered one."""
        waiting = dict(self._cache.resources)
        while waiting and not self._stop.is_set():
            for plural in list(waiting):
                self._beat = time.monotonic()
                try:
                    self._cache.fill(self._kube, plural)
                except (ApiError, Unreachable) as error:
                    log.warning("%s cannot be listed yet: %s", plural, error)
                else:
                    del waiting[plural]
            if waiting:
                self._stop.wait(3.0)
        if not waiting:
            log.info("Listed %d objects of %d resources", self._cache.count(), len(self._cache.resources))
            self.synced.set()

    def _sweep(self) -> None:
        """A watch that starts anew after an interruption does not tell what was deleted meanwhile."""
        pause = SWEEP / len(self._cache.resources)
        while not self._stop.is_set():
            for plural in self._cache.resources:
                if self._stop.wait(pause) or not self.synced.is_set():
                    break
                try:
                    gone = self._cache.sweep(self._kube, plural)
                except (ApiError, Unreachable) as error:
                    log.warning("%s could not be compared with the API server: %s", plural, error)
                    continue
                if gone:
                    log.info("%d %s had been deleted without notice", gone, plural)
