"""The agent: its parts, and which thread asks what of them when.

    main     events from the kernel -> registry, listeners, names; walks of the cgroup trees
    timer    sweep for overdue requests, expiry of idle series, CPU delay of threads
    conntrack  (network/translations.py) destination translations -> kernel
    http     scrapes: reads the maps and writes the page

`Kernel` is not thread-safe: whoever calls it (but for NAT) holds `_kernel_lock`.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .containers.lognames import LogNames
from .containers.page import add_containers
from .containers.registry import Registry
from .containers.tree import find_hierarchies
from .exposition import Page
from .features import Features
from .kernel import Config, Kernel, KernelError, events, rows
from .network.addresses import networks
from .network.dns import Malformed, Names, parse_answer
from .network.listening import Listener, Listeners
from .network.translations import Translator
from .node import add_node, machine_id
from .readers import Readers
from .samples import Sample, Samples, line
from .traffic import Traffic, destinations, host_port

log = logging.getLogger(__name__)

WALK_SECONDS = 15.0  # safety net: events from the kernel tell of new containers long before
WALK_WITHOUT_EVENTS_SECONDS = 2.0  # where no event tells of them
WALK_PAUSE_SECONDS = 0.2  # between two walks, however many events ask for one
WALK_SHARE = 0.01  # of one CPU, that walks may take while containers come and go
NAME_RETRY_SECONDS = 0.1
IDLE_SECONDS = 1.0
BATCH_SECONDS = 0.05  # events are taken this often at most, so that a storm of them costs little
SWEEP_SECONDS = 5.0
EXPIRE_SECONDS = 60.0
SILENCE_SECONDS = 60.0
DELAY_SHARE = 0.005  # of one CPU, that reading the threads' CPU delay may take


class Agent:
    """`run` is the main thread, until `stop`; `scrape` and `healthy` may be called from any thread."""

    def __init__(
        self,
        cgroup_root: Path,
        log_root: Path,
        cluster_cidrs: Iterable[str] = (),
        protocols: Collection[str] = rows.PROTOCOLS[2:],
    ) -> None:
        self.features = Features()
        self.registry = Registry(find_hierarchies(cgroup_root), LogNames(log_root))
        self._common = [("machine_id", machine_id())]
        self._version = _version()
        self._traffic = Traffic(self._common, self.registry.label_of)
        self._readers = Readers()
        self._names = Names()
        self.samples = Samples()
        self._listeners = Listeners()
        self._cluster_cidrs = tuple(cluster_cidrs)
        self._protocols = protocols
        self._unreadable_dns: dict[str, int] = {}
        self._scrape_seconds = 0.0
        self._scrape_lock = threading.Lock()
        self._kernel_lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake = os.eventfd(0)
        self._beats = dict.fromkeys(("main", "timer"), time.monotonic())
        self._walk_wanted = True
        self._check_sources()
        self._networks = networks(self._cluster_cidrs)
        self.features.not_yet("kernel", "the programs are being loaded")
        self._kernel: Kernel | None = None
        self._translator: Translator | None = None

    def _check_sources(self) -> None:
        trees, names = self.registry.trees, self.registry.names
        if trees.v2 or trees.v1:
            self.features.on("containers")
        else:
            self.features.off("containers", "no cgroup hierarchy is mounted there (in a pod: hostPath /sys/fs/cgroup)")
        if names.readable():
            self.features.on("container_names")
        else:
            self.features.off("container_names", f"{names.folder} is not there (in a pod: hostPath /var/log)")

    # main thread

    def run(self) -> None:
        self._walk(time.monotonic())
        self._start_kernel()
        threading.Thread(target=self._keep_time, name="timer", daemon=True).start()
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if self._kernel:
            poller.register(self._kernel.event_fd, select.POLLIN)
        walked, walk_pause = time.monotonic(), WALK_PAUSE_SECONDS
        told_of_starts = self.features.is_on("processes") or self.features.is_on("cgroups")
        walk_every = WALK_SECONDS if told_of_starts else WALK_WITHOUT_EVENTS_SECONDS
        while not self._stopping.is_set():
            soon = self._walk_wanted or self.registry.pending or self.registry.strangers
            poller.poll(1000 * (NAME_RETRY_SECONDS if soon else IDLE_SECONDS))
            now = self._beats["main"] = time.monotonic()
            if self._kernel:
                with self._kernel_lock:
                    new = self._kernel.events()
                for event in new:
                    self._take(event, now)
            wanted = self._walk_wanted or self.registry.strangers
            if now - walked >= walk_every or (wanted and now - walked >= walk_pause):
                began = time.thread_time()
                self._walk(now)
                walked = now
                walk_pause = max(WALK_PAUSE_SECONDS, (time.thread_time() - began) / WALK_SHARE)
            elif self.registry.pending:
                self.registry.refresh_names(now)
            self._stopping.wait(BATCH_SECONDS)
        self._close()

    def _start_kernel(self) -> None:
        """Load the kernel side while /metrics already shows the rest; what cannot run here is said once."""
        began = time.monotonic()
        try:
            kernel = Kernel.load(
                Config(
                    protocols=self._protocols,
                    cgroup_root=self.registry.trees.v2,
                    node_ips=self._networks.node_ips,
                    cluster_cidrs=self._networks.cluster_cidrs,
                )
            )
        except KernelError as error:
            self.features.off("kernel", str(error))
            return
        for name, feature in kernel.features.items():
            if feature.on:
                self.features.on(name)
            else:
                self.features.off(name, feature.reason)
        self.features.on("kernel")
        self._note_open_sockets(kernel)
        if self.features.is_on("requests") or self.features.is_on("tcp"):
            self._translator = Translator(self.features, kernel.set_nat, kernel.forget_nat, kernel.retain_nat)
            self._translator.start()
        self._kernel = kernel
        self._walk_wanted = True  # what began before the events did
        log.info("programs loaded and attached in %.1f s", time.monotonic() - began)

    def _walk(self, now: float) -> None:
        self._walk_wanted = False
        self.registry.refresh(now)
        self._listeners.forget(self.registry.has_ended)
        self._listeners.refresh()
        self._names.expire(now)
        near = networks(self._cluster_cidrs)
        if self._kernel and near != self._networks:
            self._networks = near
            with self._kernel_lock:
                self._kernel.set_networks(near.node_ips, near.cluster_cidrs)

    def _note_open_sockets(self, kernel: Kernel) -> None:
        sockets = kernel.sockets()
        for row in sockets[sockets["state"] == 10]:  # TCP_LISTEN
            listener = Listener(int(row["owner"]), int(row["netns"]), rows.address(row["local"]), int(row["local_port"]))
            self._listeners.opened(listener, int(row["pid"]))

    def _take(self, event: events.Event, now: float) -> None:
        match event:
            case events.CgroupChange(hierarchy=0):
                if event.created:
                    self.registry.born(event.owner, event.path, now)
                else:
                    self.registry.gone(event.owner, now)
            case events.CgroupChange():
                # A container in v1 only has no other event; one that v2 shows too is known from that.
                self._walk_wanted |= event.created and not self.registry.knows_path(event.path)
            case events.ProcessExec():
                self._walk_wanted = self._walk_wanted or self._is_new(event, now)
            case events.OomKill():
                container = self._container_of(event)
                if container:
                    container.oom_kills += 1
                    log.info("%s: process %d (%s) was killed because memory ran out", container.id, event.pid, event.comm)
                else:
                    log.info("process %d (%s), in no container, was killed because memory ran out", event.pid, event.comm)
            case events.Listen():
                listener = Listener(event.owner, event.netns, event.local, event.port)
                if event.opened:
                    self._listeners.opened(listener, event.pid)
                else:
                    self._listeners.closed(listener)
            case events.DnsAnswer():
                self._learn_name(event.payload, now)
            case events.RequestSample():
                self._show(event)

    def _is_new(self, event: events.ProcessExec, now: float) -> bool:
        """Whether this process runs in a cgroup that is not known yet."""
        if event.owner_v1 and self.registry.knows(event.owner_v1 | rows.OWNER_V1):
            return False
        return not self.registry.knows(event.owner)

    def _container_of(self, event: events.Event):
        """The process's container: by its cgroup, by that in the v1 memory hierarchy, or by /proc while it still lives."""
        return (
            self.registry.by_cgroup(event.owner)
            or self.registry.by_cgroup(event.owner_v1 | rows.OWNER_V1)
            or self.registry.by_pid(event.pid)
        )

    def _learn_name(self, payload: bytes, now: float) -> None:
        try:
            answer = parse_answer(payload)
        except Malformed as error:
            self._unreadable_dns[str(error)] = self._unreadable_dns.get(str(error), 0) + 1
            return
        if answer:
            self._names.learn(answer, now)

    def _show(self, event: events.RequestSample) -> None:
        key, protocol = event.key, rows.PROTOCOLS[event.key["protocol"]]
        outbound = key["direction"] == rows.OUTBOUND
        status = rows.STATUSES[event.status]
        self.samples.add(
            Sample(
                time=time.time(),
                container_id=self.registry.label_of(event.owner) or "~unknown",
                direction=rows.DIRECTIONS[key["direction"]],
                peer=destinations(key)[0] if outbound else rows.PEERS[key["peer"]],
                protocol=protocol,
                status=status if protocol == "http" else rows.OK_OR_FAILED.get(status, status),
                latency=None if event.latency is None else round(event.latency / 1e9, 6),
                request=line(protocol, event.request),
            )
        )

    def _close(self) -> None:
        if self._translator:
            self._translator.stop()
        if self._kernel:
            with self._scrape_lock, self._kernel_lock:
                self._kernel.close()
                self._kernel = None

    def stop(self) -> None:
        self._stopping.set()
        os.eventfd_write(self._wake, 1)

    # timer thread

    def _keep_time(self) -> None:
        next_delay = next_expiry = 0.0
        while not self._stopping.wait(SWEEP_SECONDS):
            now = self._beats["timer"] = time.monotonic()
            with self._kernel_lock:
                if self._kernel:
                    self._kernel.sweep()
                    if now >= next_expiry:
                        self._traffic.forget(self._kernel.expire())
                        next_expiry = now + EXPIRE_SECONDS
            if now >= next_delay:
                began = time.thread_time()
                self.registry.sample_delay()
                next_delay = now + (time.thread_time() - began) / DELAY_SHARE

    # any thread

    def healthy(self) -> str:
        """"" or what is wrong: a thread that ended or hangs is not repaired from inside, the kubelet starts us again."""
        now = time.monotonic()
        silent = {name: now - beat for name, beat in self._beats.items() if now - beat > SILENCE_SECONDS}
        return "".join(f"thread {name} has not run for {seconds:.0f} s\n" for name, seconds in silent.items())

    def scrape(self, reader: str) -> tuple[str, Callable[[], None]]:
        """The page as `reader`, an address, is to see it, and what to call once it has got it."""
        with self._scrape_lock:
            now, began = time.monotonic(), time.perf_counter()
            page = Page(self._common)
            page.add("node_agent_info", 1, [("version", self._version)])
            add_node(page)
            add_containers(page, self.registry)
            self._add_network(page)
            if self._kernel:
                self._add_kernel(page, self._kernel, reader, now)
            self.features.add(page)
            page.add("appstatus_agent_scrape_seconds", self._scrape_seconds)
            text = page.text()
            self._scrape_seconds = time.perf_counter() - began
        return text, partial(self._has_read, reader, now)

    def _has_read(self, reader: str, when: float) -> None:
        with self._scrape_lock:
            self._readers.has_read(reader, when)

    def _add_network(self, page: Page) -> None:
        for owner, ip, port in sorted(self._listeners.items()):
            label = self.registry.label_of(owner)
            if label:
                page.add("container_net_tcp_listen_info", 1,
                         [("container_id", label), ("listen_addr", host_port(ip, port)), ("proxy", "")])
        for ip, name in self._names.items():
            page.add("ip_to_fqdn", 1, [("ip", ip), ("fqdn", name)])

    def _add_kernel(self, page: Page, kernel: Kernel, reader: str, now: float) -> None:
        with self._kernel_lock:
            self._traffic.update_requests(kernel.read_requests(), now)
            self._traffic.update_tcp(kernel.read_tcp(), now)
            counters = kernel.counters()
        self._traffic.add(page, self._readers.since(reader, now))
        lost = {**counters.events_lost, "conntrack": self._translator.lost if self._translator else 0}
        for source, count in lost.items():
            page.add("appstatus_agent_events_lost_total", count, [("source", source)])
        refused = {"nat": self._translator.refused if self._translator else 0}
        for name, count in {**counters.map_full, **refused}.items():
            page.add("appstatus_agent_map_full_total", count, [("map", name)])
        for name, count in counters.map_entries.items():
            page.add("appstatus_agent_map_entries", count, [("map", name)])
        unparsed = {**counters.unparsed, **{("dns", reason): count for reason, count in dict(self._unreadable_dns).items()}}
        for (protocol, reason), count in unparsed.items():
            page.add("appstatus_agent_unparsed_total", count, [("protocol", protocol), ("reason", reason)])
        page.add("appstatus_agent_samples_total", self.samples.total)
        page.add("appstatus_agent_unknown_owner_total", counters.unknown_owner)
        page.add("appstatus_agent_destinations_folded_total", counters.destinations_folded)
        for name, cost in counters.programs.items():
            page.add("appstatus_agent_program_seconds_total", cost.seconds, [("program", name)])
            page.add("appstatus_agent_program_runs_total", cost.runs, [("program", name)])


def _version() -> str:
    try:
        return version("appstatus")
    except PackageNotFoundError:  # run from a folder, not installed
        return "unknown"
