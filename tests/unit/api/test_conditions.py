from appstatus.api.conditions import Condition, accepted, merge, refused, slo_runtime, with_refusal

T0, T1 = 1_800_000_000.0, 1_800_000_900.0


def test_the_transition_time_changes_only_with_the_status() -> None:
    first = merge([], [Condition("Ready", True, "A", "a")], 1, T0)
    same = merge(first, [Condition("Ready", True, "B", "other words")], 2, T1)
    assert (same[0]["lastTransitionTime"], same[0]["reason"], same[0]["observedGeneration"]) == ("2027-01-15T08:00:00Z", "B", 2)
    flipped = merge(same, [Condition("Ready", False, "C", "c")], 2, T1)
    assert flipped[0]["lastTransitionTime"] == "2027-01-15T08:15:00Z"
    unknown = merge(flipped, [Condition("Ready", None, "D", "d")], 2, T1 + 1)
    assert (unknown[0]["status"], unknown[0]["lastTransitionTime"]) == ("Unknown", "2027-01-15T08:15:01Z")


def test_a_condition_that_is_no_longer_said_goes() -> None:
    before = merge([], refused("Invalid", "wrong"), 1, T0)
    assert [c["type"] for c in before] == ["Accepted", "Ready", "Stalled"]
    after = merge(before, accepted(), 2, T1)
    assert [c["type"] for c in after] == ["Accepted", "Ready"]


def test_a_later_refusal_keeps_the_other_conditions() -> None:
    conditions = with_refusal([*accepted(), Condition("TargetResolved", True, "Found", "x")], "InvalidQuery", "no such function")
    assert {c.type: c.status for c in conditions} == {"Accepted": False, "Ready": False, "Stalled": True, "TargetResolved": True}


def test_no_data_is_never_met() -> None:
    assert {c.type: c.status for c in slo_runtime("NoData", "Stale", None, 0.99)} == {
        "DataAvailable": False,
        "ObjectiveMet": None,
        "Violated": None,
    }


def test_nobody_asking_is_not_a_lack_of_data() -> None:
    assert {c.type: (c.status, c.reason) for c in slo_runtime("NoData", "no requests", None, 0.99, idle=True)} == {
        "DataAvailable": (True, "Fresh"),
        "ObjectiveMet": (None, "NoRequests"),
        "Violated": (False, "NotBurning"),
    }


def test_an_unmet_objective_is_not_a_violation_by_itself() -> None:
    assert {c.type: c.status for c in slo_runtime("Exhausted", "", 0.98, 0.99)} == {
        "DataAvailable": True,
        "ObjectiveMet": False,
        "Violated": False,
    }


def test_a_firing_tier_is_the_reason() -> None:
    violated = slo_runtime("FastBurn", "", 0.999, 0.99)[-1]
    assert (violated.type, violated.status, violated.reason) == ("Violated", True, "FastBurn")
