"""Any course of violations, with a crash before or after any write: one opening, at most one escalation, one recovery."""

import hashlib
import random
from dataclasses import dataclass, field

from appstatus.api.names import AppKey, ObjectRef
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.incidents.incident import OPENINGS, Participation, marked
from appstatus.incidents.machine import Outcome, step
from appstatus.incidents.observe import Observed
from hypothesis import given, settings
from hypothesis import strategies as st

T0 = 1_800_000_000.0
CYCLE = 15.0
NAMES = ("cart", "checkout", "frontend", "search")
KEYS = {name: AppKey("shop", "Deployment", name) for name in NAMES}
REFS = {name: ObjectRef("apps/v1", "Deployment", "shop", name, f"uid-{name}") for name in NAMES}


class Crash(Exception):
    """The process dies here."""


@dataclass
class Cluster:
    """What survives a crash: AppStatus objects and Events; both change only through single writes."""

    crashes: frozenset[int]
    stored: dict[AppKey, Participation] = field(default_factory=dict)
    events: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    order: list[tuple[str, str, str]] = field(default_factory=list)
    writes: int = 0

    def _maybe_crash(self) -> None:
        self.writes += 1
        if self.writes in self.crashes:
            raise Crash

    def write(self, part: Participation) -> bool:
        self._maybe_crash()
        self.stored[part.app] = part
        self._maybe_crash()
        return True

    def erase(self, app: AppKey) -> None:
        self._maybe_crash()
        del self.stored[app]
        self._maybe_crash()

    def post(self, part: Participation, reason: str) -> bool:
        self._maybe_crash()
        name = hashlib.sha256(f"{part.ref.uid}{part.incident_id}{reason}".encode()).hexdigest()
        if name not in self.events:
            self.events[name] = (part.app.name, reason, part.incident_id)
            self.order.append(self.events[name])
        self._maybe_crash()
        return True


def settle(cluster: Cluster, outcome: Outcome, order: random.Random) -> tuple[Participation, ...]:
    """As IncidentLog does it, incidents in any order: the state of all its applications, the opener's last; then each Event and
    its mark, the opener's first. What is only seen and not due is stored afterwards."""
    parts = {part.app: part for part in outcome.participations}

    def store(app: AppKey) -> None:
        if cluster.stored.get(app) != parts[app]:
            cluster.write(parts[app])

    due = sorted({part.incident_id for part, _ in outcome.due})
    for incident in order.sample(due, len(due)):
        members = [part.app for part in parts.values() if part.incident_id == incident]
        members = sorted(order.sample(members, len(members)), key=lambda app: parts[app].opener)
        for app in members:
            store(app)
        for app in reversed(members):
            while parts[app].due:
                reason = parts[app].due[0]
                cluster.post(parts[app], reason)
                parts[app] = marked(parts[app], reason)
                store(app)
    for app in order.sample(sorted(parts), len(parts)):
        store(app)
    for app in [app for app in cluster.stored if app not in parts and not cluster.stored[app].done]:
        cluster.erase(app)
    return tuple(parts.values())


def diagnosis(name: str, cause: str) -> Diagnosis:
    path = (KEYS[name],) if cause == name else (KEYS[name], AppKey("shop", "StatefulSet", cause))
    return Diagnosis(KEYS[name], T0, T0, (Cause(path[-1], "x", 0.9, path, ()),), True)


def run(cluster: Cluster, course, causes, evidence_after: int, seed: int = 0) -> None:
    """``course``: per cycle, application -> "fast" | "slow" | "missed" | "met"."""
    memory: tuple[Participation, ...] | None = None
    order = random.Random(seed)
    for number, states in enumerate(course):
        now = T0 + number * CYCLE
        observed = {}
        for name, state in states.items():
            firing = ("slo",) if state in ("fast", "slow") else ()
            recent = "met" if state == "met" else "missed"
            observed[KEYS[name]] = Observed(KEYS[name], REFS[name], firing, state == "fast", {"slo": recent})
        known = {
            KEYS[name]: diagnosis(name, causes[name])
            for name, state in states.items()
            if state in ("fast", "slow") and number >= evidence_after
        }
        previous = memory if memory is not None else tuple(cluster.stored.values())
        try:
            outcome = step(previous, observed, known, observed, now)
            memory = settle(cluster, outcome, order)
        except Crash:
            memory = None


def check_each_incident(cluster: Cluster) -> set[str]:
    """The ids of all incidents that anybody was told of."""
    assert all(part.done for part in cluster.stored.values()), "an incident was never closed"
    incidents = {incident for _, _, incident in cluster.order}
    for incident in incidents:
        reasons = [reason for _, reason, each in cluster.order if each == incident]
        openings = [reason for reason in reasons if reason in OPENINGS]
        assert openings in (["SLOFastBurn"], ["SLOSlowBurn"], ["SLOSlowBurn", "SLOFastBurn"]), reasons
        assert reasons.count("SLORecovered") == 1, reasons
        carriers = {app for app, reason, each in cluster.order if each == incident and reason != "SLOAffected"}
        assert len(carriers) == 1, "the Events of one incident are on one application"
    return incidents


LEVELS = st.sampled_from(["fast", "slow", "missed", "met"])
CRASHES = st.frozensets(st.integers(1, 40), max_size=3)
QUIET = [dict.fromkeys(NAMES, "met")] * 8


@settings(max_examples=300)
@given(
    course=st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, LEVELS)), min_size=1, max_size=25),
    causes=st.fixed_dictionaries({name: st.sampled_from([name, "postgres", "redis"]) for name in NAMES}),
    crashes=CRASHES,
    evidence_after=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_any_course_with_any_crash(course, causes, crashes, evidence_after, seed):
    cluster = Cluster(crashes)
    run(cluster, [*course, *QUIET], causes, evidence_after, seed)
    check_each_incident(cluster)


@settings(max_examples=300)
@given(
    starts=st.fixed_dictionaries({name: st.integers(0, 6) for name in NAMES}),
    level=st.fixed_dictionaries({name: st.sampled_from(["fast", "slow"]) for name in NAMES}),
    length=st.integers(12, 20),
    crashes=CRASHES,
    evidence_after=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_one_outage_is_one_incident(starts, level, length, crashes, evidence_after, seed):
    """All applications suffer from postgres, each from its own moment on, until all recover."""
    course = [{name: level[name] if number >= starts[name] else "met" for name in NAMES} for number in range(length)]
    cluster = Cluster(crashes)
    run(cluster, [*course, *QUIET], dict.fromkeys(NAMES, "postgres"), evidence_after, seed)
    assert len(check_each_incident(cluster)) == 1
    told = {app for app, _, _ in cluster.order}
    assert told == set(NAMES), "every application that suffers is told of"


def test_every_single_write_of_a_whole_incident():
    """Slow burn, escalation, a late joiner, recovery: killed once before and once after each of its writes."""
    course = [
        *[{"cart": "slow", "checkout": "met"}] * 3,
        *[{"cart": "fast", "checkout": "slow"}] * 3,
        *[{"cart": "missed", "checkout": "missed"}] * 2,
        *[{"cart": "met", "checkout": "met"}] * 8,
    ]
    causes = {"cart": "postgres", "checkout": "postgres"}
    calm = Cluster(frozenset())
    run(calm, course, causes, 0)
    expected = sorted((app, reason) for app, reason, _ in calm.order)
    assert expected == [("cart", "SLOFastBurn"), ("cart", "SLORecovered"), ("cart", "SLOSlowBurn"), ("checkout", "SLOAffected")]
    for moment in range(1, calm.writes + 1):
        cluster = Cluster(frozenset({moment}))
        run(cluster, course, causes, 0)
        assert sorted((app, reason) for app, reason, _ in cluster.order) == expected, f"crash at {moment} of {calm.writes}"
        assert len(check_each_incident(cluster)) == 1
