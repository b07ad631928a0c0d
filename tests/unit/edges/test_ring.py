"""Ring matrices: late samples win, the window slides, idle series leave."""

import numpy as np
import pytest
from appstatus.sources.ring import Ring
from hypothesis import given
from hypothesis import strategies as st

NAN = float("nan")


def block(*rows):
    return np.array(rows, dtype=float)


def test_an_answer_fills_the_columns_that_it_covers():
    ring = Ring(columns=4, end=10)
    ring.merge([("a",), ("b",)], block([1, 2], [3, 4]), first=9)
    assert ring.keys() == [("a",), ("b",)]
    np.testing.assert_array_equal(ring.values(), [[NAN, NAN, 1, 2], [NAN, NAN, 3, 4]])


def test_newer_values_win_and_what_they_do_not_confirm_goes():
    ring = Ring(columns=4, end=10)
    ring.merge([("a",), ("b",)], block([1, 2], [3, 4]), first=9)
    ring.advance(11)
    ring.merge([("a",)], block([20, 30]), first=10)
    np.testing.assert_array_equal(ring.values(), [[NAN, 1, 20, 30], [NAN, 3, NAN, NAN]])


def test_columns_older_than_the_window_are_ignored():
    ring = Ring(columns=2, end=10)
    ring.merge([()], block([1, 2, 3, 4]), first=7)
    np.testing.assert_array_equal(ring.values(), [[3, 4]])


def test_a_series_without_samples_in_the_window_leaves():
    ring = Ring(columns=4, end=0)
    ring.merge([("old",), ("new",)], block([1], [1]), first=0)
    for end in range(1, 40):
        ring.advance(end)
        ring.merge([("new",)], block([end]), first=end)
    assert ring.keys() == [("new",)]


def test_a_jump_beyond_the_window_leaves_nothing_behind():
    ring = Ring(columns=4, end=0)
    ring.merge([("a",)], block([1, 2, 3, 4]), first=-3)
    ring.advance(1000)
    assert np.isnan(ring.values()).all()


@given(st.lists(st.tuples(st.integers(1, 9), st.lists(st.floats(0, 9), min_size=1, max_size=6)), max_size=30))
def test_the_window_is_what_a_plain_dictionary_says(steps):
    ring, truth, end = Ring(columns=5, end=0), {}, 0
    for advance, values in steps:
        end += advance
        ring.advance(end)
        first = end - len(values) + 1
        ring.merge([()], block(values), first=first)
        truth |= {first + i: value for i, value in enumerate(values)}
    if steps:
        expected = [truth.get(column, NAN) for column in range(end - 4, end + 1)]
        np.testing.assert_array_equal(ring.values(), [expected])


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_it_grows_with_the_number_of_series(count):
    ring = Ring(columns=3, end=2)
    ring.merge([(str(i),) for i in range(count)], np.arange(count * 3.0).reshape(count, 3), first=0)
    assert len(ring) == count
    np.testing.assert_array_equal(ring.values(), np.arange(count * 3.0).reshape(count, 3))
