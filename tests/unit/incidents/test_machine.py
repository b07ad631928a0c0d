"""What becomes one incident, who carries its Event, and when it is over."""

from dataclasses import dataclass, field, replace

from appstatus.api.names import AppKey, ObjectRef
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.incidents.incident import Participation, marked
from appstatus.incidents.machine import Outcome, step
from appstatus.incidents.observe import Observed

T0 = 1_800_000_000.0


def key(name: str) -> AppKey:
    return AppKey("shop", "Deployment", name)


def ref(name: str, uid: str = "") -> ObjectRef:
    return ObjectRef("apps/v1", "Deployment", "shop", name, uid or f"uid-{name}")


def violated(name: str, slo: str = "availability", page: bool = True, uid: str = "") -> Observed:
    return Observed(key(name), ref(name, uid), (slo,), page, {slo: "missed"})


def fine(name: str, recent: str = "met", slo: str = "availability") -> Observed:
    return Observed(key(name), ref(name), (), False, {slo: recent})


def because(*path: str, dominant: bool = True, neighbour: str = "") -> Diagnosis:
    """A diagnosis whose best cause is the last of ``path``."""
    keys = tuple(key(name) for name in path)
    cause = Cause(keys[-1], "cpu-throttled", 0.8 if dominant else 0.2, keys, (), neighbour=neighbour, node="n1")
    return Diagnosis(keys[0], T0, T0, (cause,), dominant)


@dataclass
class Run:
    """Feeds cycles of 15 s and posts whatever is due."""

    now: float = T0
    parts: tuple[Participation, ...] = ()
    events: list[tuple[str, str, str]] = field(default_factory=list)  # (application, reason, incident)
    outcome: Outcome | None = None

    def cycle(self, *seen: Observed, diagnoses=(), present=None, calls=None, after: float = 15.0) -> "Run":
        self.now += after
        observed = {each.app: each for each in seen}
        found = {each.violator: each for each in diagnoses}
        present = observed if present is None else present
        self.outcome = step(self.parts, observed, found, present, self.now, calls)
        parts = {part.app: part for part in self.outcome.participations}
        for part, reason in self.outcome.due:
            self.events.append((part.app.name, reason, part.incident_id))
            parts[part.app] = marked(parts[part.app], reason)
        self.parts = tuple(parts.values())
        return self

    @property
    def posted(self) -> list[tuple[str, str]]:
        return [(app, reason) for app, reason, _ in self.events]


def test_a_plain_cause_posts_at_once():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    assert run.posted == [("cart", "SLOFastBurn")]


def test_without_a_plain_cause_the_opening_waits_for_evidence_up_to_a_minute():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart", dominant=False)])
    for _ in range(3):
        run.cycle(violated("cart"))
    assert run.posted == []
    run.cycle(violated("cart"))
    assert run.posted == [("cart", "SLOFastBurn")]
    assert run.now - run.parts[0].opened == 60


def test_evidence_that_comes_during_the_wait_ends_it():
    run = Run().cycle(violated("cart")).cycle(violated("cart"), diagnoses=[because("cart", "postgres")])
    assert run.posted == [("cart", "SLOFastBurn")]


def test_the_id_does_not_depend_on_the_cause_and_is_known_before_the_event():
    run = Run().cycle(violated("cart"))
    early = run.parts[0].incident_id
    run.cycle(violated("cart"), diagnoses=[because("cart", "postgres")])
    assert run.events == [("cart", "SLOFastBurn", early)]
    assert len(early) == 6 and int(early, 16) >= 0


def test_all_that_share_a_cause_are_one_incident_and_the_nearest_opens_it():
    run = Run().cycle(
        violated("frontend"),
        violated("checkout"),
        violated("cart"),
        diagnoses=[because("frontend", "checkout", "postgres"), because("checkout", "postgres"), because("cart", "postgres")],
    )
    assert sorted(run.posted) == [("cart", "SLOFastBurn"), ("checkout", "SLOAffected"), ("frontend", "SLOAffected")]
    assert len({incident for _, _, incident in run.events}) == 1
    assert run.events[0][1] == "SLOFastBurn"


def test_the_cause_itself_opens_when_it_violates_its_own_objective():
    run = Run().cycle(
        violated("frontend"), violated("zebra"), diagnoses=[because("frontend", "checkout", "zebra"), because("zebra")]
    )
    assert sorted(run.posted) == [("frontend", "SLOAffected"), ("zebra", "SLOFastBurn")]


def test_a_cause_that_leads_through_another_violator_joins_it():
    # payment is blamed by checkout itself; frontend's excess was followed only as far as checkout.
    run = Run().cycle(
        violated("frontend"), violated("checkout"), diagnoses=[because("frontend", "checkout"), because("checkout", "payment")]
    )
    assert sorted(run.posted) == [("checkout", "SLOFastBurn"), ("frontend", "SLOAffected")]


def test_two_victims_of_one_noisy_neighbour_are_one_incident():
    run = Run().cycle(
        violated("cart"),
        violated("search"),
        diagnoses=[because("cart", neighbour="batch/x"), because("search", neighbour="batch/x")],
    )
    assert sorted(run.posted) == [("cart", "SLOFastBurn"), ("search", "SLOAffected")]


def test_a_late_joiner_joins():
    run = Run().cycle(violated("checkout"), diagnoses=[because("checkout", "postgres")])
    run.cycle(violated("checkout"), violated("frontend"), diagnoses=[because("frontend", "checkout", "postgres")])
    assert run.posted == [("checkout", "SLOFastBurn"), ("frontend", "SLOAffected")]
    assert len({incident for _, _, incident in run.events}) == 1


def test_an_independent_cause_is_a_second_incident():
    run = Run().cycle(violated("checkout"), diagnoses=[because("checkout", "postgres")])
    run.cycle(violated("checkout"), violated("search"), diagnoses=[because("search", "elastic")])
    assert run.posted == [("checkout", "SLOFastBurn"), ("search", "SLOFastBurn")]
    assert len({incident for _, _, incident in run.events}) == 2


def test_a_mere_suspect_joins_nothing():
    suspicion = because("search", "postgres", dominant=False)
    suspicion = replace(suspicion, causes=(replace(suspicion.causes[0], share=0.0),))
    run = Run().cycle(violated("checkout"), diagnoses=[because("checkout", "postgres")])
    for _ in range(5):
        run.cycle(violated("checkout"), violated("search"), diagnoses=[suspicion])
    assert run.posted == [("checkout", "SLOFastBurn"), ("search", "SLOFastBurn")]


def test_an_unexplained_violation_joins_after_the_wait_only_what_it_is_connected_with():
    calls = {key("frontend"): {key("checkout")}, key("checkout"): {key("postgres")}}
    run = Run().cycle(violated("checkout"), diagnoses=[because("checkout", "postgres")])
    for _ in range(5):
        run.cycle(violated("checkout"), violated("frontend"), violated("batch"), calls=calls)
    assert run.posted == [("checkout", "SLOFastBurn"), ("batch", "SLOFastBurn"), ("frontend", "SLOAffected")]


def test_a_slow_burn_escalates_once():
    slow = violated("cart", page=False)
    run = Run().cycle(slow, diagnoses=[because("cart")])
    for page in (False, True, False, True, True):
        run.cycle(violated("cart", page=page))
    assert run.posted == [("cart", "SLOSlowBurn"), ("cart", "SLOFastBurn")]


def test_a_fast_opening_never_escalates():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    for page in (False, True):
        run.cycle(violated("cart", page=page))
    assert run.posted == [("cart", "SLOFastBurn")]


def test_an_affected_application_that_burns_fast_escalates_the_incident_of_the_opener():
    diagnoses = [because("cart", "postgres"), because("search", "postgres")]
    run = Run().cycle(violated("cart", page=False), violated("search", page=False), diagnoses=diagnoses)
    run.cycle(violated("cart", page=False), violated("search", page=True))
    assert run.posted[-1] == ("cart", "SLOFastBurn")


def test_it_is_over_when_all_meet_their_objectives():
    both = [because("checkout", "postgres"), because("frontend", "checkout", "postgres")]
    run = Run().cycle(violated("checkout"), violated("frontend"), diagnoses=both)
    run.cycle(fine("checkout"), violated("frontend"))
    assert ("checkout", "SLORecovered") not in run.posted
    run.cycle(fine("checkout"), fine("frontend"))
    assert run.posted == [("checkout", "SLOFastBurn"), ("frontend", "SLOAffected"), ("checkout", "SLORecovered")]
    assert {part.app.name for part in run.outcome.closed} == {"checkout", "frontend"}
    assert all(part.done and part.closing_reason == "Recovered" for part in run.parts)


def test_no_tier_firing_is_not_yet_recovery():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    for _ in range(10):
        run.cycle(fine("cart", "missed"))
    assert run.posted == [("cart", "SLOFastBurn")]
    run.cycle(fine("cart"))
    assert run.posted[-1] == ("cart", "SLORecovered")


def test_without_data_it_stays_open():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    for _ in range(400):
        run.cycle(fine("cart", "unknown"))
    assert run.posted == [("cart", "SLOFastBurn")]


def test_when_nobody_asks_for_an_hour_it_ends():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")]).cycle(fine("cart", "idle"))
    assert run.posted[-1] == ("cart", "SLORecovered")
    assert run.parts[0].closing_reason == "NoTraffic"


def test_a_deleted_workload_closes_its_incident_with_the_reason():
    both = [because("checkout", "postgres"), because("frontend", "checkout", "postgres")]
    run = Run().cycle(violated("checkout"), violated("frontend"), diagnoses=both)
    run.cycle(violated("frontend"), present={key("frontend")})
    assert run.posted[-1] == ("checkout", "SLORecovered")
    assert {(part.app.name, part.closing_reason) for part in run.parts} == {
        ("checkout", "WorkloadDeleted"),
        ("frontend", "WorkloadDeleted"),
    }


def test_a_deleted_affected_application_leaves_the_incident_open():
    both = [because("checkout", "postgres"), because("frontend", "checkout", "postgres")]
    run = Run().cycle(violated("checkout"), violated("frontend"), diagnoses=both)
    run.cycle(violated("checkout"), present={key("checkout")})
    assert run.posted[-1] == ("frontend", "SLOAffected")
    run.cycle(fine("checkout"))
    assert run.posted[-1] == ("checkout", "SLORecovered")


def test_a_workload_created_anew_under_the_same_name_is_another_one():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    run.cycle(violated("cart", uid="second"), diagnoses=[because("cart")])
    assert run.posted[-1] == ("cart", "SLORecovered")
    run.cycle(violated("cart", uid="second"), diagnoses=[because("cart")])
    assert run.posted[-1] == ("cart", "SLOFastBurn")


def test_an_slo_taken_away_ends_the_incident():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    run.cycle(Observed(key("cart"), ref("cart")))
    assert run.posted[-1] == ("cart", "SLORecovered")
    assert run.parts[0].closing_reason == "SLORemoved"


def test_what_could_not_be_judged_stays_as_it_is():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    outcome = step(run.parts, {}, {}, {key("cart")}, run.now + 15, unjudged={key("cart")})
    assert outcome.participations == run.parts


def test_an_application_that_is_not_judged_any_more_leaves():
    run = Run().cycle(violated("cart"), diagnoses=[because("cart")])
    run.cycle(present={key("cart")})
    assert run.posted[-1] == ("cart", "SLORecovered")
    assert run.parts[0].closing_reason == "SLORemoved"


def test_a_slow_tier_that_still_fires_after_the_trouble_opens_nothing():
    seen = Observed(key("cart"), ref("cart"), ("availability",), False, {"availability": "met"})
    run = Run()
    for _ in range(10):
        run.cycle(seen, diagnoses=[because("cart")])
    assert run.posted == [] and run.parts == ()


def test_what_has_opened_is_told_even_if_it_is_over_by_then():
    run = Run().cycle(violated("cart"))
    for _ in range(5):
        run.cycle(fine("cart"))
    assert run.posted == [("cart", "SLOFastBurn"), ("cart", "SLORecovered")]
