"""A diagnosis in words that fit into an Event."""

from datetime import UTC, datetime

from appstatus.diagnosis.classes import CLASSES
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence

# Evidence that repeats where the share lies.
_EDGE = frozenset({"latency", "failing"})
_NAMES = {
    "latency": "latency",
    "failing": "failing",
    "slow": "own latency",
    "errors": "errors",
    "failures": "failing",
    "network-gap": "time between caller and server",
    "rtt": "round trip",
    "retransmits": "retransmits",
    "failed-connects": "failed connects",
    "oom-kills": "OOM kills",
    "restarts": "restarts",
    "no-instances": "ready instances",
    "fewer-instances": "ready instances",
    "throttled": "throttled",
    "cpu-delay": "waiting for CPU",
    "neighbour": "CPU",
    "node-cpu": "node CPU",
    "cpu-usage": "CPU",
    "calls-gone": "calls",
    "more-traffic": "requests",
    "memory-near-limit": "memory",
    "pool-held": "busy connections",
    "opaque": "busy connections",
    "changed-since": "has changed",
    "new-log-pattern": "in its log",
    "certificate": "in its log",
    "dns": "in its log",
    "zone-down": "in its log",
    "provider": "in its log",
    "disk-full": "in its log",
    "bad-input": "in its log",
    "instance-cpu": "CPU",
    "instance-memory": "memory",
    "instance-sends-less": "sends",
    "instance-receives-less": "receives",
    "instance-serves-less": "answers",
    "instance-calls-less": "calls",
    "instance-waits": "waits for others",
    "instance-slow": "own latency",
    "instance-fails": "failing",
}


def title(cause: Cause) -> str:
    """``postgres.statefulset: CPU throttled by its own limit``: fits a column of ``kubectl get``."""
    name = cause.app.name if cause.app.is_external else cause.app.status_name
    return f"{name}: {CLASSES[cause.klass].title}"


def todo(cause: Cause) -> str:
    """The first thing to do, one sentence."""
    return CLASSES[cause.klass].todo


def share(cause: Cause) -> str:
    """``81% of the extra time is in checkout->postgres``."""
    what = "extra time" if cause.mode == "seconds" else "failed requests"
    verb = "is" if cause.mode == "seconds" else "are"
    where = next((e.subject for e in cause.evidence[:1] if e.signal in _EDGE), "->".join(k.name for k in cause.path[-2:]))
    return f"{100 * cause.share:.0f}% of the {what} {verb} in {where}{'' if '->' in where else ' itself'}"


def quantity(value: float | None, unit: str) -> str:
    """``340ms``, ``12%``, ``0.35s/s``, ``3``."""
    if value is None:
        return "?"
    if unit == "s":
        return f"{1000 * value:.3g}ms" if value < 1 else f"{value:.3g}s"
    if unit == "time":
        return clock(value)
    if unit == "s/s":
        return f"{value:.2g}s/s"
    if unit in ("%", "/s"):
        return f"{value:.3g}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def evidence(fact: Evidence) -> str:
    """``postgres-0 waiting for CPU 0.01s/s->0.4s/s``."""
    if fact.unit == "time":
        return f"{fact.subject} at {quantity(fact.during, 'time')}"
    values = "->".join(quantity(v, fact.unit) for v in (fact.before, fact.during) if v is not None)
    return f"{name(fact)} {values}"


def name(fact: Evidence) -> str:
    """What was measured: ``postgres-0 waiting for CPU``."""
    return f"{fact.subject} {_NAMES.get(fact.signal, fact.signal)}"


def _why(cause: Cause) -> str:
    """`` (41%)``; of a suspect, to which nothing was followed, its best evidence instead."""
    if cause.share:
        return f" ({100 * cause.share:.0f}%)"
    return f" ({evidence(cause.evidence[0])})" if cause.evidence else ""


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def line(diagnosis: Diagnosis) -> str:
    """One line: ``postgres waits for CPU ...: 81% of the extra time is in checkout->postgres; ... since 10:41 on node-3``."""
    if not diagnosis.causes:
        return f"no cause found: {diagnosis.thin}" if diagnosis.thin else "no cause found"
    if not diagnosis.dominant:
        best = ", ".join(f"{c.app.name} {CLASSES[c.klass].title}{_why(c)}" for c in diagnosis.causes)
        reason = f" ({diagnosis.thin})" if diagnosis.thin else ""
        return f"no dominant cause{reason}; best: {best}"
    cause = diagnosis.causes[0]
    facts = [evidence(e) for e in cause.evidence if e.signal not in _EDGE][:2]
    where = f" on {cause.node}" if cause.node else ""
    told = "; ".join([share(cause), *([cause.attribution] if cause.attribution else []), *facts])
    return f"{cause.app.name} {CLASSES[cause.klass].title}: {told} since {clock(diagnosis.onset)}{where}"
