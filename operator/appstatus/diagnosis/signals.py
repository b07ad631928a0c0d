"""What changed inside an application and around it: the signals that tell the classes apart."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from appstatus.api.names import AppKey
from appstatus.diagnosis.changes import change_before, earlier, first_sign
from appstatus.diagnosis.excess import Accounts, Excess
from appstatus.diagnosis.flow import Source
from appstatus.diagnosis.logs import said
from appstatus.diagnosis.result import Evidence
from appstatus.diagnosis.shift import THRESHOLD, Shift, middle, shift
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID
from appstatus.model.series import F64
from appstatus.model.world import Application, Container, Instance, Traffic, World, add

SIGNALS: dict[str, str] = {
    "external": "it is not in the cluster",
    "network": "the extra time is spent between its callers and it",
    "network-gap": "callers wait longer than its containers take",
    "rtt": "TCP round trips to it take longer",
    "retransmits": "segments to it are sent again more often",
    "failed-connects": "connections to it fail",
    "oom-kills": "the kernel killed it for want of memory",
    "restarts": "its containers restarted",
    "no-instances": "not one of its instances is ready",
    "fewer-instances": "some of its instances stopped being ready",
    "rollout": "it was changed shortly before the onset",
    "earlier-rollout": "it was changed earlier, and something in it is different since",
    "changed-since": "what is different since then",
    "throttled": "its CPU limit holds it back",
    "cpu-delay": "it waits for CPU",
    "neighbour": "another container on its node uses more CPU",
    "node-cpu": "its node is busier",
    "cpu-usage": "it uses more CPU",
    "calls-gone": "it no longer makes calls that its requests lead to",
    "more-traffic": "it and the violator get more requests",
    "memory-near-limit": "its memory is close to the limit",
    "errors": "its own answers are errors",
    "failures": "calls to it fail",
    "slow": "its own answers take longer",
    "pool-held": "its connections to a dependency are busy, but little goes over them",
    "instance-cpu": "one instance uses more CPU",
    "instance-memory": "one instance uses more memory",
    "instance-sends-less": "one instance sends fewer bytes",
    "instance-receives-less": "one instance receives fewer bytes",
    "instance-serves-less": "one instance answers fewer requests",
    "instance-calls-less": "one instance makes fewer calls",
    "instance-waits": "one instance waits longer for all that it calls",
    "instance-slow": "one instance answers later",
    "instance-fails": "one instance answers with errors",
    "opaque": "its callers wait for it, and their requests to it cannot be read",
    "new-log-pattern": "its log has warnings or errors that it did not have before",
    "certificate": "its log, or a metric of its own, says that a certificate is not accepted",
    "dns": "its log, or a metric of its own, says that names are not resolved",
    "zone-down": "its log, or a metric of its own, says that a zone or region of the cloud is impaired",
    "provider": "its log, or a metric of its own, says that somebody outside fails",
    "disk-full": "its log says that a disk is full",
    "bad-input": "its log says that what it is sent cannot be digested",
}

# Those that are no mere effect of what others do.
CAUSES = frozenset({
    "oom-kills", "restarts", "no-instances", "fewer-instances", "rollout", "throttled", "cpu-delay", "cpu-usage",
    "memory-near-limit", "calls-gone", "earlier-rollout", "certificate", "dns", "zone-down", "provider", "disk-full", "bad-input",
})  # fmt: skip
EARLIER = frozenset({"earlier-rollout", "changed-since"})
EVENT = 10.0  # strength of what happens or does not: as if it had moved so far
EVENT_BEFORE = 120.0
SURGE = 1.5
BUSY_NODE = 0.85
NEAR_LIMIT = 0.9
LEAST_NEIGHBOUR = 0.2  # cores
LEAST_CALLS = 20.0  # expected in the incident: so many do not stay away by chance
_CHECKS = {
    "CPUThrottling": "throttled",
    "CPUDelay": "cpu-delay",
    "MemoryOOM": "oom-kills",
    "MemoryContainer": "memory-near-limit",
    "InstanceRestarts": "restarts",
}
_PART_OF_LIMIT = 0.05
_FLOORS = {"throttled": 0.02, "cpu-delay": 0.05, "cpu-usage": 0.05, "node-cpu": 0.1, "rtt": 0.001, "retransmits": 0.5}


class Signals:
    """``found``: signal -> evidence, for one source; ``symptoms``: not only of causes (which costs half as much)."""

    def __init__(
        self,
        accounts: Accounts,
        source: Source,
        violator: Application,
        checks: Mapping[AppKey, Sequence[CheckResult]],
        symptoms: bool = True,
    ) -> None:
        self.accounts = accounts
        self.world: World = accounts.world
        self.windows = accounts.windows
        self.source = source
        self.app = self.world.applications[source.app]
        self.found: dict[str, Evidence] = {}
        self.instance = ""
        self.node = ""
        self.neighbour: AppKey | None = None
        if symptoms:
            self._symptoms()
        if source.kind == "network":
            self._network()
            return
        self._life()
        self._changes()
        self._said()
        self._cpu()
        self._memory()
        if symptoms:
            self._traffic(violator)
        self._calls()
        self._failing(checks.get(self.app.key, ()))

    @property
    def causes(self) -> list[str]:
        """What explains by something inside the application, or on its node, what it does."""
        return [signal for signal in self.found if signal in CAUSES]

    @property
    def internal(self) -> bool:
        return bool(self.causes)

    def shift(self, values: F64 | None, floor: float) -> Shift | None:
        return shift(values, self.windows, floor)

    def _note(
        self, signal: str, subject: str, before: float | None, during: float | None, unit: str, strength: float | None = None
    ) -> None:
        if strength is None:
            strength = EVENT if signal in CAUSES else 0.0
        self.found.setdefault(signal, Evidence(signal, subject, before, during, unit, strength))

    def _symptoms(self) -> None:
        app = self.app
        if app.key.is_external:
            self._note("external", app.key.name, None, None, "")
        node: Excess = self.accounts.node(app)
        if self.source.mode == "seconds":
            if node.during is not None and node.seconds > 0:
                self._note("slow", app.key.name, node.before, node.during, "s")
            return
        served = self.accounts.served(app)
        # Answers with an error come from the application; silence may be anybody's.
        if served is not None and served.failures - served.unanswered > 0.5 * node.failures:
            self._note("errors", app.key.name, 100 * served.failing_before, 100 * served.failing, "%")
        self._note("failures", app.key.name, 100 * node.failing_before, 100 * node.failing, "%")
        refused = [c.failed_connects for c in app.downstreams]
        times = len(self.world.times)
        failed = add(refused, times)
        tried = add([*refused, *(c.connects for c in app.downstreams)], times)
        before, during = self._rate(failed, tried, self.windows.reference), self._rate(failed, tried, self.windows.incident)
        if during > 0.2 and during > 2 * before:
            self._note("failed-connects", app.key.name, 100 * before, 100 * during, "%")

    @staticmethod
    def _rate(part: F64, whole: F64, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
        number = float(np.nansum(whole[mask]))
        return float(np.nansum(part[mask])) / number if number > 0 else 0.0

    def _network(self) -> None:
        self._note("network", self.app.key.name, None, None, "")
        client = self.source.path[-2]
        served = self.accounts.served(self.app)
        for connection in self.app.downstreams:
            if connection.client != client:
                continue
            subject = f"{client.name}->{self.app.key.name}"
            edge = self.accounts.edge(connection)
            if served is not None and edge.before is not None and edge.during is not None:
                gap_before = max(0.0, edge.before - (served.before or 0.0))
                self._note("network-gap", subject, gap_before, max(0.0, edge.during - (served.during or 0.0)), "s")
            for signal, values, unit in (("rtt", connection.rtt, "s"), ("retransmits", connection.retransmits, "/s")):
                shift = self.shift(values, _FLOORS[signal])
                if shift is not None and shift.score > THRESHOLD:
                    self._note(signal, subject, shift.before, shift.during, unit)

    def _life(self) -> None:
        app = self.app
        since = self.windows.onset - EVENT_BEFORE
        recent = self.world.times >= since
        for instance, container in self._containers():
            for signal, values in (("oom-kills", container.oom_kills), ("restarts", container.restarts)):
                count = 0.0 if values is None else float(np.nansum(values[recent]))
                if count > 0:
                    self._note(signal, instance.name, 0.0, count, "")
                    self._at(instance)
        if app.key.is_external or self.source.mode != "failures":
            return
        if app.desired is not None:
            ready, wanted = app.available or 0, app.desired
        else:
            current = [i for i in app.instances.values() if not i.obsolete]
            ready, wanted = sum(i.ready for i in current), len(current)
        if app.ref is not None and ready == 0:
            self._note("no-instances", app.key.name, float(wanted) if wanted else None, 0.0, "ready")
        down = [i for i in app.instances.values() if not i.ready and (i.unready_since or 0.0) >= since and not i.obsolete]
        if down and ready < wanted:
            self._note("fewer-instances", app.key.name, float(wanted), float(ready), "ready")
            self._at(down[0])

    def _at(self, instance: Instance) -> None:
        if not self.instance:
            self.instance, self.node = instance.name, instance.node

    def _changes(self) -> None:
        change = change_before(self.app, self.windows.onset, self.world.step)
        if change is not None and change.kind == "rollout":
            self._note("rollout", change.what or self.app.key.name, None, change.time, "time")
            return
        given = self.app, self.world, self.windows
        since = (earlier(*given) or first_sign(*given)) if self.app.changes else None
        # A configuration that no rollout carries takes effect late or never: a rollout with which something moved comes first.
        if change is not None and (since is None or since.change.kind != "rollout"):
            self._note("rollout", change.what or self.app.key.name, None, change.time, "time")
        elif since is not None:
            self._note("earlier-rollout", since.change.what or self.app.key.name, None, since.change.time, "time")
            self._note("changed-since", since.name, since.before, since.during, "")

    def _said(self) -> None:
        for signal, text, before, during, unit in said(self.app, self.windows, self.world.step):
            self._note(signal, text, before, during, unit)

    def _containers(self) -> Iterator[tuple[Instance, Container]]:
        for instance in self.app.instances.values():
            for container in instance.containers.values():
                yield instance, container

    def _cpu(self) -> None:
        delayed: list[tuple[Shift, Instance]] = []
        for signal in ("throttled", "cpu-delay"):
            worst: tuple[Shift, Instance] | None = None
            arrays = [(i, c.name, _cpu_values(signal, c)) for i, c in self._containers()]
            for instance, name, values in arrays:
                shift = self.shift(self._since_birth(values, name, arrays), _FLOORS[signal])
                if shift is not None and shift.score > THRESHOLD and (worst is None or shift.during > worst[0].during):
                    worst = shift, instance
                if shift is not None and shift.score > THRESHOLD:
                    delayed.append((shift, instance))
            if worst is not None:
                self._note(signal, worst[1].name, worst[0].before, worst[0].during, "s/s", worst[0].score)
                self._at(worst[1])
        times = len(self.world.times)
        usage = self.shift(_sum((c.cpu_usage for _, c in self._containers()), times), self._least_usage())
        if usage is not None and usage.score > THRESHOLD:
            self._note("cpu-usage", self.app.key.name, usage.before, usage.during, "cores", usage.score)
        for _, instance in sorted(delayed, key=lambda d: d[0].during, reverse=True):
            self._around(instance)

    def _least_usage(self) -> float:
        """Cores that count, of a small container less than of a large one."""
        limits = [c.cpu_limit[~np.isnan(c.cpu_limit)] for _, c in self._containers() if c.cpu_limit is not None]
        return min([_FLOORS["cpu-usage"], *(_PART_OF_LIMIT * middle(limit) for limit in limits if len(limit))])

    def _around(self, instance: Instance) -> None:
        """The node and who else is on it."""
        node = self.world.nodes.get(instance.node)
        if node is None:
            return
        shift = self.shift(node.cpu_usage, _FLOORS["node-cpu"])
        if shift is not None and (shift.score > THRESHOLD or shift.during > BUSY_NODE):
            self._note("node-cpu", node.name, 100 * shift.before, 100 * shift.during, "%")
        others = [
            g for g in self.accounts.grown_on(instance.node) if g.app != self.app.key and g.during - g.before > LEAST_NEIGHBOUR
        ]
        if others and self.neighbour is None:
            best = max(others, key=lambda g: g.during - g.before)
            self.neighbour, self.node = best.app, instance.node
            self._note("neighbour", best.app.name, best.before, best.during, "cores")

    def _since_birth(self, values: F64 | None, name: str, arrays: list[tuple[Instance, str, F64 | None]]) -> F64 | None:
        """Values of a container; for the time before it lived, the mean of its like: a new release is compared with the old one."""
        if values is None or not np.isnan(values[self.windows.reference]).all():
            return values
        like = [v for _, other, v in arrays if v is not None and other == name]
        whole = add(like, len(values)) / np.maximum(np.sum([~np.isnan(v) for v in like], axis=0), 1)
        return np.where(self.windows.reference, whole, values)

    def _failing(self, checks: Sequence[CheckResult]) -> None:
        """Checks that began to fail with the incident tell of what has no time before to be compared with."""
        since = self.windows.onset - EVENT_BEFORE
        for check in checks:
            signal = _CHECKS.get(check.id)
            if signal is not None and check.outcome == "fail" and check.since is not None and check.since >= since:
                self._note(signal, ", ".join(check.instances[:2]), None, check.value, BY_ID[check.id].unit)

    def _memory(self) -> None:
        for instance, container in self._containers():
            if container.memory_rss is None or container.memory_limit is None:
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                used = container.memory_rss / container.memory_limit
            before, during = self.accounts.levels(used)
            if during > NEAR_LIMIT > before:
                self._note("memory-near-limit", instance.name, 100 * before, 100 * during, "%")
                self._at(instance)

    def _traffic(self, violator: Application) -> None:
        ratios = []
        for app in (violator, self.app):
            before, during = self.accounts.levels(requests(app, len(self.world.times)))
            ratios.append((during / before if before > 0 else 0.0, before, during))
        least = min(ratios)
        if least[0] >= SURGE:
            self._note("more-traffic", self.app.key.name, ratios[1][1], ratios[1][2], "req/s")

    def _calls(self) -> None:
        """Who fails on the way to a call never makes it. (That the callee cannot be reached is another signal.)"""
        own_before, own_during = self._per_window(requests(self.app, len(self.world.times)))
        for connection in self.app.upstreams:
            before, during = self._per_window(connection.traffic.total(len(self.world.times)))
            if own_before <= 0 or own_during < own_before / 2 or during > before / 5:
                continue
            length = float(self.windows.incident.sum()) * self.world.step
            if before * length * min(1.0, own_during / own_before) >= LEAST_CALLS and not self.accounts.edge(connection).failures:
                edge = f"{self.app.key.name}->{connection.upstream.name}"
                self._note("calls-gone", edge, before, during, "req/s", THRESHOLD)

    def _per_window(self, values: F64) -> tuple[float, float]:
        """Mean rates before and during; NaN is nothing known, not 0."""
        found = []
        for window, unknown in ((self.windows.reference, 0.0), (self.windows.incident, float("inf"))):
            part = values[window]
            part = part[~np.isnan(part)]
            found.append(float(part.sum()) / len(part) if len(part) else unknown)
        return found[0], found[1]


def requests(app: Application, times: int) -> F64:
    """(T,) requests/s that an application gets: as it answers them, else as its clients see them."""
    if app.served.requests:
        return app.served.total(times)
    return add([c.traffic.total(times) for c in app.downstreams], times)


def latency(app: Application, times: int) -> F64 | None:
    """(T,) seconds of mean latency: as its own containers answer, else as its clients see it; None where nobody knows it."""
    seen = [c.traffic for c in app.downstreams if c.traffic.seconds is not None and c.traffic.timed is not None]
    if app.served.seconds is not None or not seen:
        return app.served.mean()
    spent, answers = [t.seconds for t in seen if t.seconds is not None], [t.timed for t in seen if t.timed is not None]
    return Traffic(seconds=add(spent, times), timed=add(answers, times)).mean()


def _cpu_values(signal: str, container: Container) -> F64 | None:
    if signal == "throttled":
        return container.cpu_throttled
    if container.cpu_delay is None or container.cpu_throttled is None:
        return container.cpu_delay
    # Throttled threads wait too: what the limit explains is not a neighbour's doing.
    return np.maximum(container.cpu_delay - np.nan_to_num(container.cpu_throttled), 0.0)


def _sum(parts: Iterable[F64 | None], times: int) -> F64:
    return add([p for p in parts if p is not None], times)
