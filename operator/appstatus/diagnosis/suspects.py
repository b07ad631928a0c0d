"""Who else may be the cause, when what users see cannot be followed: no edges are known, or it is hardly worse than usual.

Then there are no shares. What is left is the evidence inside the applications that the violator depends on, and on the edges
between them, by how far it has moved: of metrics that show causes, in healthy hours that happens to one or two in a thousand. After
those comes whose own answers became slower than what it waits for explains, by the same measure; the violator is the last.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from appstatus.api.names import AppKey
from appstatus.diagnosis.classes import classify
from appstatus.diagnosis.demarcation import gaps
from appstatus.diagnosis.excess import Accounts
from appstatus.diagnosis.flow import Mode, Source
from appstatus.diagnosis.result import Cause, Evidence
from appstatus.diagnosis.shift import THRESHOLD, shift
from appstatus.diagnosis.signals import Signals, latency
from appstatus.inspections.result import CheckResult
from appstatus.model.world import Application

MOST_LOOKED_AT = 200  # applications, the nearest first
LEAST_SECONDS = 0.002  # of mean latency


def suspects(
    accounts: Accounts,
    violator: Application,
    mode: Mode,
    checks: Mapping[AppKey, Sequence[CheckResult]],
    strong: bool = False,
) -> list[Cause]:
    """The strongest evidence first; every share is 0. ``strong``: only those with evidence of a cause."""
    paths = reach(accounts, violator)
    found: dict[AppKey, tuple[float, Cause]] = {}
    for key, path in paths.items():
        source = Source(key, "own", mode, 0.0, path)
        if not Signals(accounts, source, violator, checks, symptoms=False).causes:
            continue
        signals = Signals(accounts, source, violator, checks)
        strength = max((signals.found[s].strength for s in signals.causes), default=0.0)
        if strength > 0:
            facts = tuple(sorted((signals.found[s] for s in signals.causes), key=lambda e: -e.strength))
            klass = classify(signals.found).klass
            found[key] = strength, Cause(key, klass, 0.0, path, facts, signals.instance, signals.node, "", mode)
    edges = gaps(accounts, [c for key in paths for c in accounts.world.applications[key].upstreams])
    for (client, upstream), moved in edges.slow.items():
        end = edges.end(client, upstream)
        if moved.score > found.get(end, (0.0, None))[0]:
            gap = Evidence("network-gap", f"{client.name}->{upstream.name}", moved.before, moved.during, "s", moved.score)
            found[end] = moved.score, Cause(end, "network-latency", 0.0, paths[end], (gap,), mode="seconds")
    for key, path in paths.items():
        if key not in found and not strong:
            found[key] = _symptom(accounts, accounts.world.applications[key], path)
    return [cause for _, cause in sorted(found.values(), key=lambda f: -f[0]) if cause.evidence or cause.app == violator.key]


def _symptom(accounts: Accounts, app: Application, path: tuple[AppKey, ...]) -> tuple[float, Cause]:
    """(less than `THRESHOLD`, cause): how much slower it answers, by itself."""
    node = accounts.node(app)
    moved = shift(latency(app, len(accounts.world.times)), accounts.windows, LEAST_SECONDS)
    if moved is None or moved.score <= 0 or node.seconds <= 0:
        return 0.0, Cause(app.key, "unknown", 0.0, path, ())
    own = 1.0 - min(1.0, sum(accounts.edge(c).seconds for c in app.upstreams) / node.seconds)
    strength = moved.score * own
    slow = Evidence("slow", app.key.name, moved.before, moved.during, "s", strength)
    return THRESHOLD * strength / (1.0 + strength), Cause(app.key, "inside", 0.0, path, (slow,))


def reach(accounts: Accounts, violator: Application) -> dict[AppKey, tuple[AppKey, ...]]:
    """The violator and whom it depends on, with the shortest path to each. Where nobody's calls are known: its whole namespace."""
    applications = accounts.world.applications
    if not accounts.world.connections:
        others = [key for key in applications if key.namespace == violator.key.namespace and key != violator.key]
        return {violator.key: (violator.key,), **{key: (violator.key, key) for key in others[: MOST_LOOKED_AT - 1]}}
    found: dict[AppKey, tuple[AppKey, ...]] = {violator.key: (violator.key,)}
    waiting = deque([violator])
    while waiting and len(found) < MOST_LOOKED_AT:
        app = waiting.popleft()
        for connection in app.upstreams:
            if connection.upstream not in found:
                found[connection.upstream] = (*found[app.key], connection.upstream)
                waiting.append(applications[connection.upstream])
    return found
