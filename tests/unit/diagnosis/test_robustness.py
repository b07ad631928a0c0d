"""No input makes the diagnosis crash, and missing samples alone accuse nobody."""

import numpy as np
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.wording import line, title
from appstatus.model.world import Traffic, World
from callgraph import Service as S
from callgraph import app_key, simulate
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import NOW, T, container, instance, series

Fault = tuple[float | None, float | None]
SHARES = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


def chain(slow: float | None, failing: float | None) -> World:
    made = simulate(
        {"front": S(calls={"checkout": 1}), "checkout": S(calls={"ledger": 2}), "ledger": S(slow=slow, failing=failing)}, "front"
    )
    for app in made.applications.values():
        held = container(cpu_usage=series(0.3), cpu_throttled=series(0.0), cpu_delay=series(0.01), memory_rss=series(1e8))
        app.instances = {"pod": instance("pod", containers=[held])}
    return made


def punch(made: World, share: float, seed: int) -> None:
    """Makes samples unknown, each by itself."""
    rng = np.random.default_rng(seed)

    def holes(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(T) < share, np.nan, values)

    def all_of(thing: object) -> None:
        for name in getattr(thing, "__slots__", ()):
            value = getattr(thing, name)
            if isinstance(value, np.ndarray) and value.shape[-1] == T:
                setattr(thing, name, holes(value))
        if hasattr(thing, "requests"):
            thing.requests = {s: holes(v) for s, v in thing.requests.items()}

    for app in made.applications.values():
        all_of(app.served)
        for pod in app.instances.values():
            for held in pod.containers.values():
                all_of(held)
    for edge in made.connections:
        all_of(edge)
        all_of(edge.traffic)


@settings(max_examples=60)
@given(SHARES, st.integers(0, 2**32 - 1))
def test_holes_in_a_healthy_world_accuse_nobody(share: float, seed: int) -> None:
    made = chain(None, None)
    punch(made, share, seed)
    assert not diagnose(made, {}, app_key("front"), [], NOW).dominant


@settings(max_examples=60)
@given(SHARES, st.integers(0, 2**32 - 1), st.sampled_from([(0.3, None), (None, 0.5), (0.3, 0.5)]))
def test_holes_in_a_broken_world_never_accuse_the_innocent(
    share: float, seed: int, fault: tuple[float | None, float | None]
) -> None:
    made = chain(*fault)
    punch(made, share, seed)
    diagnosis = diagnose(made, {}, app_key("front"), [], NOW)
    assert line(diagnosis)
    for cause in diagnosis.causes:
        assert title(cause)
        assert 0.0 <= cause.share <= 1.0
    # With half of the samples gone at random the sums of neighbouring edges no longer match; up to a tenth they do.
    if diagnosis.dominant and share <= 0.1:
        assert diagnosis.causes[0].app == app_key("ledger")


def test_a_query_without_an_answer_accuses_nobody() -> None:
    """Without the clients' side the callers of what fails look like the place where it fails."""
    made = chain(None, 0.5)
    for edge in made.connections:
        edge.traffic = Traffic()
    made.missing = {"requests_out": "no answer within 12 s"}
    diagnosis = diagnose(made, {}, app_key("front"), [], NOW)
    assert not diagnosis.dominant
    assert "requests_out" in line(diagnosis)
    whole = chain(None, 0.5)
    whole.missing = {"node_memory_total": "no answer within 12 s"}
    found = diagnose(whole, {}, app_key("front"), [], NOW)
    assert found.dominant and found.causes[0].app == app_key("ledger")
