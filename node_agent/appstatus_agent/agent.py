"""The agent: what is asked of each part, and when."""

import contextlib
import logging
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .containers.lognames import LogNames
from .containers.registry import Container, Registry
from .containers.tree import find_hierarchies
from .exposition import Page
from .features import Features
from .node import add_node, machine_id

log = logging.getLogger(__name__)

WALK_SECONDS = 15.0  # safety net: exec events from the kernel tell of new containers long before
WALK_PAUSE_SECONDS = 0.25  # between two walks, however many events ask for one
NAME_RETRY_SECONDS = 0.1
DELAY_SECONDS = 5.0
DELAY_SHARE = 0.005  # of one CPU, that reading the threads' delays may take


class Agent:
    """Owns the registry and the readers; `run` is the thread that writes them, `scrape` may be called from any."""

    def __init__(self, cgroup_root: Path, log_root: Path) -> None:
        self.features = Features()
        self.registry = Registry(find_hierarchies(cgroup_root), LogNames(log_root))
        self._machine_id = machine_id()
        self._version = _version()
        self._scrape_seconds = 0.0
        self._scrape_lock = threading.Lock()
        self._beat = time.monotonic()
        self._walk_wanted = threading.Event()
        self._stopping = threading.Event()
        self._check_sources()

    def _check_sources(self) -> None:
        trees = self.registry.trees
        if trees.v2 or trees.v1:
            self.features.on("containers")
        else:
            self.features.off("containers", "no cgroup hierarchy is mounted there (in a pod: hostPath /sys/fs/cgroup)")
        if self.registry.names.readable():
            self.features.on("container_names")
        else:
            self.features.off("container_names", f"{self.registry.names.folder} is not there (in a pod: hostPath /var/log)")

    # the writing thread

    def run(self) -> None:
        """Until `stop`: keep the registry up to date."""
        threading.Thread(target=self._sample, name="delay", daemon=True).start()
        walked = -WALK_SECONDS
        while not self._stopping.is_set():
            now = self._beat = time.monotonic()
            if now - walked >= WALK_SECONDS or (self._walk_wanted.is_set() and now - walked >= WALK_PAUSE_SECONDS):
                self._walk_wanted.clear()
                self.registry.refresh(now)
                walked = now
            elif self.registry.pending:
                self.registry.refresh_names(now)
            self._stopping.wait(NAME_RETRY_SECONDS if self.registry.pending else 1.0)

    def _sample(self) -> None:
        """CPU delay of all threads, as often as its cost allows."""
        pause = DELAY_SECONDS
        while not self._stopping.wait(pause):
            began = time.thread_time()
            self.registry.sample_delay()
            pause = max(DELAY_SECONDS, (time.thread_time() - began) / DELAY_SHARE)

    def stop(self) -> None:
        self._stopping.set()

    def healthy(self) -> str:
        """"" or what is wrong."""
        silent = time.monotonic() - self._beat
        return f"the main loop has not run for {silent:.0f} s\n" if silent > 30 else ""

    # any thread

    def scrape(self) -> str:
        with self._scrape_lock:
            began = time.perf_counter()
            page = Page([("machine_id", self._machine_id)])
            page.add("node_agent_info", 1, [("version", self._version)])
            add_node(page)
            for container in self.registry.containers:
                self._add_container(page, container)
            for kind, count in self.registry.counts().items():
                page.add("appstatus_agent_containers", count, [("kind", kind)])
            self.features.add(page)
            page.add("appstatus_agent_scrape_seconds", self._scrape_seconds)
            text = page.text()
            self._scrape_seconds = time.perf_counter() - began
            return text

    def _add_container(self, page: Page, container: Container) -> None:
        of = [("container_id", container.id)]
        page.add("container_restarts_total", container.restarts, of)
        page.add("container_oom_kills_total", container.oom_kills, of)
        if container.group is None:
            return
        page.add("container_info", 1, [*of, ("image", "")])
        usage = None
        with contextlib.suppress(AttributeError):  # it ended just now
            usage = self.registry.usage(container)
        if usage is None:
            return
        page.add("container_resources_cpu_limit_cores", usage.cpu_limit_cores, of)
        page.add("container_resources_cpu_usage_seconds_total", usage.cpu_usage_seconds, of)
        page.add("container_resources_cpu_throttled_seconds_total", usage.cpu_throttled_seconds, of)
        page.add("container_resources_cpu_delay_seconds_total", container.delay.seconds, of)
        page.add("container_resources_memory_limit_bytes", usage.memory_limit_bytes, of)
        page.add("container_resources_memory_rss_bytes", usage.memory_rss_bytes, of)
        page.add("container_resources_memory_cache_bytes", usage.memory_cache_bytes, of)


def _version() -> str:
    try:
        return version("appstatus")
    except PackageNotFoundError:  # run from a folder, not installed
        return "unknown"
