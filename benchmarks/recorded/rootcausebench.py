"""RootCauseBench (edgedelta/root-cause-bench, Apache-2.0): an alert, metrics every minute, logs, traces, deploys and flags.

What a metric means is told by its name, through one table for all scenarios; whatever the table does not know goes to
`Application.gauges`. What the set does not tell is taken as constant or left out: a service whose requests are not counted gets
`NOMINAL` of them per second; latency is a quantile, taken for the mean; of an edge (traces tell which there are) it is known what
its callee does. A sample carries the time at which its minute begins. The world ends with the minute in which the alert fired.

The truth's class, which the set has no word for, from the commit and the remediation:

    a commit is to blame (rollback, roll-forward, config-revert, ...)   bad-release
    reschedule, evict, anti-affinity                                    noisy-neighbour
    scale, shed load, rate-limit                                        traffic-surge
    purge, quarantine, skip                                             bad-input
    renew or rotate a certificate                                       certificate
    dns, resolver                                                       dns
    zone, region                                                        zone-down
    failover, provider, vendor, wait, escalate                          external
    anything else                                                       not judged by class

and where that is nothing, scale or failover, which help against many things, by what the notes speak of at least three times.

Several commits that one service got at one time are one release. Every change that does not hold the commit to blame is a decoy.
"""

import csv
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from appstatus.model.facts import Change
from appstatus.model.series import F64
from appstatus.model.world import Application, Connection, Container, LogPattern, Node, World

from recorded.case import Case, application, connection, instance, key, traffic, violated, world

STEP = 60.0
NOMINAL = 10.0  # requests/s
KIND = {True: "release", False: "operational"}
REMEDIES: tuple[tuple[str, str], ...] = (
    ("cert|renew|rotate", "certificate"),
    ("dns|resolver", "dns"),
    ("reschedul|evict|affinity|drain|cordon", "noisy-neighbour"),
    ("zone|region", "zone-down"),
    ("failover|provider|vendor|upstream|wait|escalat|fallback", "external"),
    ("scale|shed|rate-?limit|throttl", "traffic-surge"),
    ("purge|quarantine|skip|dead-?letter|data", "bad-input"),
)

THEMES: tuple[tuple[str, str], ...] = (
    (r"\bdns\b|resolver", "dns"),
    (r"\bcertificate|\btls\b|x509", "certificate"),
    (r"availability zone|\bzone\b|\bregion\b", "zone-down"),
    (r"\bprovider\b|third.party|\bvendor\b", "external"),
)
LEAST_MENTIONS = 3

# The first pattern found in a metric's name says what it is.
NAMES: tuple[tuple[str, str], ...] = (
    (r"cancel", "gauge"),  # a client's doing, no failure of who is asked
    (r"^node_.*cpu.*(ratio|pct|percent|util)", "node cpu"),
    (r"^node_", "gauge"),
    (r"throttled_(seconds|time)", "throttled"),
    (r"cpu.*cores", "cpu cores"),
    (r"^(container_)?cpu_(util|usage|pct|percent)", "cpu share"),
    (r"(working_set|rss|memory_us\w+).*(bytes|mib|gib|mb|gb)$", "memory"),
    (r"^(container_)?mem(ory)?_(util|usage|used|pct|percent).*(ratio|pct|percent|util\w*)$", "memory share"),
    (r"oom", "ooms"),
    (r"restart", "restarts"),
    (r"(success|availability)\w*_(ratio|rate|pct|percent)$", "success"),
    (r"(error|5xx|fail|throttle|timeout|reject|exceed)\w*_(ratio|rate|pct|percent)$|(error|failure)_(rate|ratio)", "failing"),
    (r"(error|5xx|fail|panic|exception)\w*per_(sec|second|min)", "failures"),
    (r"^(http_|rpc_|grpc_)?(requests?|calls)_per_(sec|second|min)\w*$|^(rps|qps)$", "rate"),
    (r"(http|rpc|grpc|request|response|server)\w*(duration|latency|time)\w*_(ms|seconds|s)$", "latency"),
    (r"(duration|latency|response_time)\w*_(ms|seconds|s)$", "other latency"),
)  # fmt: skip
UNITS = {"mib": 2.0**20, "gib": 2.0**30, "mb": 1e6, "gb": 1e9, "bytes": 1.0}
SEVERE = frozenset({"WARN", "WARNING", "ERROR", "FATAL", "CRITICAL", "PANIC"})
Columns = dict[str, F64]


def cases(data: Path) -> Iterator[Case]:
    for truth in sorted(data.glob("*/ground_truth.json")):
        yield _case(truth.parent, json.loads(truth.read_text()))


def _case(folder: Path, truth: dict[str, object]) -> Case:
    alert = json.loads((folder / "alert.json").read_text())
    times, columns = _table(folder / "metrics.csv", _seconds(alert["fired_at"]))
    releases = list(_changes(folder))
    commit = str(truth["root_cause_commit"])
    shas = {change.what for _, change, _ in releases}
    right = {change.what for _, change, commits in releases if commit in commits}
    indicator = _meaning(alert["metric"])
    latency = indicator in ("latency", "other latency")
    made = _world(folder, times, columns, releases, None if latency or indicator in ("failing", "success", "failures") else alert)
    threshold = float(alert["threshold"]) * _unit(alert["metric"]) if latency else None
    return Case(
        folder.name,
        made,
        key(alert["service"]),
        (violated(key(alert["service"]), "latency" if latency else "availability", threshold),),
        str(truth["first_failing_service"]),
        KIND[commit != "none"],
        _classes(truth),
        decoys=frozenset(shas - right),
        sufferer=True,
    )


def _classes(truth: dict[str, object]) -> frozenset[str]:
    if truth["root_cause_commit"] != "none":
        return frozenset({"bad-release"})
    remedy, notes = (str(truth.get(part, "")).lower() for part in ("remediation", "notes"))
    found = next((klass for words, klass in REMEDIES if re.search(words, remedy)), "")
    if found in ("noisy-neighbour", "bad-input"):
        return frozenset({found})
    # More instances, or another place, help against many things.
    counts = {klass: len(re.findall(words, notes)) for words, klass in THEMES}
    best = max(counts, key=lambda klass: counts[klass])
    if counts[best] >= LEAST_MENTIONS:
        return frozenset({best})
    return frozenset({found}) if found else frozenset()


def _meaning(metric: str) -> str:
    return next((meaning for pattern, meaning in NAMES if re.search(pattern, metric.lower())), "gauge")


def _unit(metric: str) -> float:
    """Factor to seconds or bytes."""
    last = metric.lower().rsplit("_", 1)[-1]
    return 0.001 if last == "ms" else UNITS.get(last, 1.0)


def _share(values: F64) -> F64:
    """0..1, whether the set says so or in percent; names do not tell."""
    return values / 100.0 if np.nanmax(values) > 1.5 else values


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _table(path: Path, until: float) -> tuple[F64, dict[str, Columns]]:
    """(ends of the minutes, service -> metric -> values)."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    began = min(_seconds(row["timestamp"]) for row in rows)
    length = max(1, int((until - began) // STEP) + 1)
    found: dict[str, Columns] = {}
    for row in rows:
        at = round((_seconds(row["timestamp"]) - began) / STEP)
        if at < length:
            values = found.setdefault(row["service"], {}).setdefault(row["metric"], np.full(length, np.nan))
            values[at] = float(row["value"] or "nan")
    return began + STEP * np.arange(1, length + 1), found


def _changes(folder: Path) -> Iterator[tuple[str, Change, frozenset[str]]]:
    """(service, change, its commits)."""
    releases: dict[tuple[str, str], list[str]] = {}
    for deploy in json.loads((folder / "context" / "deploys.json").read_text()):
        releases.setdefault((deploy["service"], deploy["timestamp"]), []).append(deploy["commit_sha"])
    for (service, at), commits in releases.items():
        yield service, Change(_seconds(at), "rollout", "+".join(commits)), frozenset(commits)
    for flag in json.loads((folder / "context" / "flags.json").read_text()):
        yield flag["service"], Change(_seconds(flag["timestamp"]), "config", f"flag {flag['flag']}"), frozenset()


def _world(
    folder: Path,
    times: F64,
    columns: dict[str, Columns],
    releases: list[tuple[str, Change, frozenset[str]]],
    alert: dict[str, object] | None,
) -> World:
    """``alert``: that of a metric which is neither latency nor failures: every minute over its threshold is a failed one."""
    nodes = {name: _node(name, found) for name, found in columns.items() if any(m.startswith("node_") for m in found)}
    lines = _lines(folder / "logs.ndjson", times)
    homes = {service: home for service, (_, home) in lines.items() if home in nodes}
    calls = _calls(folder / "traces.json")
    names = {*columns, *(name for edge in calls for name in edge), *(service for service, _, _ in releases), *lines} - set(nodes)
    made: dict[str, Application] = {}
    for name in sorted(names):
        home = homes.get(name, next(iter(nodes)) if len(nodes) == 1 else "")
        changes = [change for service, change, _ in releases if service == name]
        mine = columns.get(name, {})
        made[name] = _application(name, mine, home, changes, alert if alert and alert["service"] == name else None, len(times))
        made[name].logs = lines.get(name, ([], ""))[0]
    edges: list[Connection] = []
    for caller, callee in sorted(calls):
        if {caller, callee} <= names and caller != callee:
            served = made[callee].served
            callers = sum(1 for _, other in calls if other == callee)
            part = traffic(served.total(len(times)) / callers, served.mean(), _failing(served.requests, len(times)))
            edges.append(connection(caller, callee, part, len(times)))
    return world(times, STEP, made.values(), edges, nodes.values())


def _failing(requests: dict[str, F64], times: int) -> F64:
    whole = sum(requests.values(), np.zeros(times))
    return np.where(whole > 0, requests.get("5xx", np.zeros(times)) / np.maximum(whole, 1e-9), 0.0)


def _node(name: str, columns: Columns) -> Node:
    usage = next((_share(v) for metric, v in columns.items() if _meaning(metric) == "node cpu"), None)
    return Node(name, ready=True, cpu_usage=usage)


def _application(
    name: str, columns: Columns, node: str, changes: list[Change], alert: dict[str, object] | None, times: int
) -> Application:
    by: dict[str, tuple[str, F64]] = {}
    gauges: dict[str, F64] = {}
    for metric, values in columns.items():
        meaning = _meaning(metric)
        if meaning == "gauge" or meaning in by:
            gauges[metric] = np.diff(values, prepend=values[:1]) if metric.endswith("_total") else values
        else:
            by[meaning] = metric, values * (_unit(metric) if meaning in ("latency", "other latency", "memory") else 1.0)
            if meaning in ("failing", "success", "other latency"):  # of what, its name says
                gauges[metric] = by[meaning][1]
    made = application(name, [instance(f"{name}-0", node, _container(name, by))], changes)
    rate = np.full(times, NOMINAL)
    if "rate" in by:
        metric, values = by["rate"]
        rate = values / (60.0 if "per_min" in metric else 1.0)
    failing = np.zeros(times)
    if "failing" in by:
        failing = np.clip(np.nan_to_num(_share(by["failing"][1])), 0.0, 1.0)
    elif "success" in by:
        failing = 1.0 - np.nan_to_num(_share(by["success"][1]), nan=1.0)
    elif "failures" in by:
        metric, values = by["failures"]
        failing = np.clip(np.nan_to_num(values) / (60.0 if "per_min" in metric else 1.0) / np.maximum(rate, 1e-9), 0.0, 1.0)
    if alert is not None and alert["metric"] in columns:
        values, limit = columns[str(alert["metric"])], float(str(alert["threshold"]))
        beyond = values >= limit if float(str(alert["observed"])) >= limit else values <= limit
        failing = np.maximum(failing, beyond)
    if columns:
        latency = by.get("latency") or by.get("other latency")
        made.served = traffic(rate, latency[1] if latency else None, failing)
    made.gauges = gauges
    return made


def _container(name: str, by: dict[str, tuple[str, F64]]) -> Container:
    made = Container(name)
    if "cpu cores" in by:
        made.cpu_usage = by["cpu cores"][1]
    elif "cpu share" in by:
        made.cpu_usage = _share(by["cpu share"][1])
        made.cpu_limit = np.ones_like(made.cpu_usage)
    if "throttled" in by:
        made.cpu_throttled = by["throttled"][1] / STEP
    if "memory" in by:
        made.memory_rss = by["memory"][1]
    elif "memory share" in by:
        made.memory_rss = _share(by["memory share"][1])
        made.memory_limit = np.ones_like(made.memory_rss)
    if "ooms" in by:
        made.oom_kills = np.diff(by["ooms"][1], prepend=by["ooms"][1][:1]).clip(0.0)
    if "restarts" in by:
        made.restarts = np.diff(by["restarts"][1], prepend=by["restarts"][1][:1]).clip(0.0)
    return made


def _calls(path: Path) -> set[tuple[str, str]]:
    """Edges: a span and its parent in another service. A trace's spans follow each other; their ids repeat from trace to trace."""
    found: set[tuple[str, str]] = set()
    seen: dict[str, str] = {}
    for span in json.loads(path.read_text()):
        if span["parent_id"] is None:
            seen = {}
        elif (caller := seen.get(span["parent_id"])) is not None and caller != span["service"]:
            found.add((caller, span["service"]))
        seen[span["span_id"]] = span["service"]
    return found


def _lines(path: Path, times: F64) -> dict[str, tuple[list[LogPattern], str]]:
    """Service -> its log patterns, and the node that its lines name."""
    found: dict[str, dict[tuple[str, bool], LogPattern]] = {}
    homes: dict[str, str] = {}
    for text in path.read_text().splitlines():
        if not text.strip():
            continue
        line = json.loads(text)
        service = line["service"]
        homes.setdefault(service, line.get("k8s.node", ""))
        at = int((_seconds(line["timestamp"]) - (times[0] - STEP)) // STEP)
        if 0 <= at < len(times):
            severe = line.get("severity_text", "").upper() in SEVERE
            masked = re.sub(r"\b[0-9a-f]{6,}\b|\d[\d.]*", "<*>", line["msg"]), severe
            pattern = found.setdefault(service, {}).setdefault(masked, LogPattern(line["msg"], severe, np.zeros(len(times))))
            pattern.lines[at] += 1.0 / STEP
    return {service: (list(found.get(service, {}).values()), home) for service, home in homes.items()}
