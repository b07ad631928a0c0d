"""Sums over windows at three resolutions."""

import numpy as np
import pytest
from appstatus.slo.history import History
from hypothesis import given, settings
from hypothesis import strategies as st

HOUR, DAY = 3600.0, 86400.0
T0 = 1_800_000_000.0
ROW = np.array([0])


def put(history: History, times: np.ndarray, good: np.ndarray, total: np.ndarray) -> None:
    history.advance(float(times[-1]))
    history.put(ROW, times, good[None, :], total[None, :])


def feed(history: History, seconds: float, rate: float, bad: float) -> None:
    """A constant rate from now on, in the pieces in which cycles bring it."""
    end = history.now + seconds
    while history.now < end:
        steps = min(200, round((end - history.now) / 15))
        times = history.now + 15.0 * np.arange(1, steps + 1)
        put(history, times, np.full(steps, 15 * (rate - bad)), np.full(steps, 15 * rate))


def sums(history: History, length: float) -> tuple[float, float, float]:
    found = history.sums(slice(0, 1), length)
    return float(found.bad[0]), float(found.total[0]), float(found.covered[0])


def test_every_window_has_its_exact_sum_whatever_level_answers():
    history = History(15, 30 * DAY, T0)
    feed(history, 4 * DAY, 2.0, 0.5)
    for length in (60, 300, HOUR, 6 * HOUR, 7 * HOUR, DAY, 3 * DAY):
        assert sums(history, length) == pytest.approx((0.5 * length, 2.0 * length, length), rel=1e-5)
    assert sums(history, 30 * DAY) == pytest.approx((0.5 * 4 * DAY, 2.0 * 4 * DAY, 4 * DAY), rel=1e-5)


def test_windows_end_now_not_at_the_end_of_a_coarse_column():
    history = History(15, 30 * DAY, T0)
    feed(history, 3 * DAY, 1.0, 0.0)
    feed(history, 435, 1.0, 1.0)
    assert sums(history, 6 * HOUR + 15)[0] == pytest.approx(435)
    feed(history, 6 * HOUR, 1.0, 0.0)
    assert sums(history, 6 * HOUR)[0] == 0
    assert sums(history, 7 * HOUR)[0] == pytest.approx(435)


def test_a_late_sample_replaces_the_earlier_value_at_every_level():
    history = History(15, 30 * DAY, T0)
    times = T0 + 15.0 * np.arange(1, 5)
    put(history, times, np.array([10.0, 10, 10, 0]), np.array([10.0, 10, 10, 0]))
    put(history, times, np.array([10.0, 10, 10, 4]), np.array([10.0, 10, 10, 9]))
    for length in (60, DAY, 30 * DAY):
        assert sums(history, length) == pytest.approx((5, 39, 60))


def test_an_unknown_value_does_not_erase_a_known_one():
    history = History(15, 30 * DAY, T0)
    times = T0 + 15.0 * np.arange(1, 3)
    put(history, times, np.array([10.0, 10]), np.array([10.0, 10]))
    put(history, times, np.array([np.nan, 12]), np.array([np.nan, 12]))
    assert sums(history, 60) == (0, 22, 30)


def test_the_past_is_filled_in_without_counting_anything_twice():
    history = History(15, 30 * DAY, T0)
    feed(history, 600, 1.0, 0.1)
    begin = T0
    times = T0 + HOUR * np.arange(-35 * 24, 2)  # reaches beyond the window and into what is known
    history.fill(0, times, HOUR, np.full(len(times), 3600 * 0.9), np.full(len(times), 3600.0), begin)
    for length in (300, HOUR, 6 * HOUR, 3 * DAY, 30 * DAY):
        assert sums(history, length) == pytest.approx((0.1 * length, length, length), rel=1e-4)


def test_gaps_in_the_past_stay_gaps():
    history = History(15, 30 * DAY, T0)
    times = T0 + HOUR * np.arange(-9, 1)
    total = np.full(10, 3600.0)
    total[3:5] = np.nan
    history.fill(0, times, HOUR, total * 0.9, total, T0)
    assert sums(history, DAY) == pytest.approx((8 * 360, 8 * 3600, 8 * HOUR), rel=1e-5)


def test_longer_windows_make_room():
    history = History(15, 30 * DAY, T0)
    feed(history, 600, 1.0, 0.0)
    history.reach(90 * DAY)
    times = T0 + HOUR * np.arange(-90 * 24, 1)
    history.fill(0, times, HOUR, np.full(len(times), 3600.0), np.full(len(times), 3600.0), T0)
    assert sums(history, 90 * DAY)[2] == pytest.approx(90 * DAY, rel=1e-3)


@settings(max_examples=60)
@given(data=st.data())
def test_all_levels_agree_with_a_plain_sum(data):
    """Random traffic, random overlap, random late corrections, against one flat list of numbers."""
    history = History(15, 30 * DAY, T0)
    steps = data.draw(st.integers(10, 400))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    total = random.integers(0, 50, steps).astype(float)
    good = np.floor(total * random.random(steps))
    truth_total, truth_bad, at = np.zeros(steps), np.zeros(steps), 0
    while at < steps:
        upto = min(at + data.draw(st.integers(1, 60)), steps)
        first = max(at - data.draw(st.integers(0, 5)), 0)
        part = slice(first, upto)
        noise = random.integers(0, 3, upto - first)
        put(history, T0 + 15.0 * np.arange(first + 1, upto + 1), good[part], total[part] + noise)
        truth_total[part], truth_bad[part] = total[part] + noise, total[part] + noise - good[part]
        at = upto
    for length, columns in ((300, 20), (HOUR, 240), (6 * HOUR, 1440)):
        bad, whole, _ = sums(history, length)
        assert bad == pytest.approx(truth_bad[-columns:].sum(), abs=1e-2)
        assert whole == pytest.approx(truth_total[-columns:].sum(), abs=1e-2)
    assert sums(history, 3 * DAY)[1] == pytest.approx(truth_total.sum(), abs=1e-1)
    assert sums(history, 30 * DAY)[0] == pytest.approx(truth_bad.sum(), abs=1e-1)
