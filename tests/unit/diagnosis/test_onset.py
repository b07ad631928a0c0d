import numpy as np
import pytest
from appstatus.diagnosis.onset import change_point, windows
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import NOW, ONSET, STEP, TIMES, T, last, series


@pytest.mark.parametrize("steps", [3, 4, 10, 60, 120, 200])
def test_the_onset_of_a_total_outage_is_its_first_bad_step(steps: int) -> None:
    assert windows(TIMES, STEP, last(steps, 20.0)).onset == TIMES[-steps] - STEP


@pytest.mark.parametrize("steps", [4, 20, 100])
def test_noise_moves_the_onset_by_a_step_at_most(steps: int) -> None:
    rng = np.random.default_rng(steps)
    found = windows(TIMES, STEP, last(steps, 3.0, 0.5) + 0.3 * rng.standard_normal(T)).onset
    assert abs(found - (TIMES[-steps] - STEP)) <= STEP


def test_a_single_earlier_spike_is_not_the_onset() -> None:
    bad = last(20, 2.0)
    bad[50] = 500.0
    assert windows(TIMES, STEP, bad).onset == ONSET


def test_an_earlier_longer_incident_is_neither_the_onset_nor_the_reference() -> None:
    bad = last(4, 5.0)
    bad[100:140] = 20.0
    found = windows(TIMES, STEP, bad)
    assert found.onset == TIMES[-4] - STEP
    assert not found.reference[100:140].any()
    assert found.reference[:100].all()


def test_the_step_before_the_onset_belongs_to_neither_window() -> None:
    found = windows(TIMES, STEP, series(0.0, 1.0))
    assert found.incident.sum() == 20
    assert not (found.incident & found.reference).any()
    assert not found.reference[-21]
    assert found.reference[-22]


def test_a_long_incident_is_judged_by_its_last_half_hour() -> None:
    found = windows(TIMES, STEP, last(200, 5.0))
    assert found.incident.sum() == 120


@pytest.mark.parametrize("values", [np.full(T, np.nan), np.zeros(T), np.full(T, 3.0), series(5.0, 0.0)])
def test_without_a_step_up_the_last_minutes_are_looked_at(values: np.ndarray) -> None:
    assert change_point(values) is None
    assert windows(TIMES, STEP, values).onset == NOW - 300 - STEP + STEP


def test_gaps_are_ignored() -> None:
    bad = series(0.0, 4.0)
    bad[::3] = np.nan
    assert abs(windows(TIMES, STEP, bad).onset - ONSET) <= 2 * STEP


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1e6) | st.just(float("nan")), min_size=0, max_size=40))
def test_any_series_has_an_onset_within_it(values: list[float]) -> None:
    bad = np.full(T, np.nan)
    if values:
        bad[-len(values) :] = values
    found = windows(TIMES, STEP, bad)
    assert TIMES[0] - STEP <= found.onset < NOW
    assert found.incident.any()
