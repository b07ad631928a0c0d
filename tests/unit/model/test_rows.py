import numpy as np
import pytest
from appstatus.model import rows
from appstatus.model.rows import fold, increments
from hypothesis import given, settings
from hypothesis import strategies as st

N = np.nan


def test_unknown_parts_do_not_count_but_nothing_known_stays_unknown() -> None:
    values = np.array([[1.0, N, N], [2.0, 3.0, N]])
    np.testing.assert_array_equal(fold(values, np.array([0, 0]), 1), [[3.0, 3.0, N]])
    np.testing.assert_array_equal(fold(values, np.array([0, 0]), 1, "mean"), [[1.5, 3.0, N]])
    np.testing.assert_array_equal(fold(values, np.array([0, 0]), 1, "max"), [[2.0, 3.0, N]])


def test_groups_without_rows_are_unknown_and_negative_groups_are_left_out() -> None:
    np.testing.assert_array_equal(fold(np.array([[1.0], [5.0]]), np.array([2, -1]), 3), [[N], [N], [1.0]])


def test_nothing_folds_to_nothing() -> None:
    assert fold(np.empty((0, 4)), np.array([], dtype=int), 2).shape == (2, 4)
    assert np.isnan(fold(np.empty((0, 4)), np.array([], dtype=int), 2)).all()


def test_the_input_is_not_changed() -> None:
    values = np.array([[1.0, N], [2.0, 3.0], [4.0, N]])
    before = values.copy()
    fold(values, np.array([0, 0, 1]), 2)
    np.testing.assert_array_equal(values, before)


@settings(max_examples=100)
@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16]))
def test_folding_in_chunks_is_folding_one_group_after_the_other(count: int, groups: int, seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((count, 5)) < 0.3, N, rng.random((count, 5)))
    numbers = rng.integers(-1, groups, count)
    expected = np.full((groups, 5), N)
    for group in range(groups):
        part = values[numbers == group]
        known = ~np.isnan(part)
        expected[group] = np.where(known.any(axis=0), np.nansum(part, axis=0), N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_CHUNK", chunk)
        np.testing.assert_allclose(fold(values, numbers, groups), expected)


def test_increments_start_at_nothing_and_count_a_reset_from_zero() -> None:
    np.testing.assert_array_equal(increments(np.array([[5.0, 6.0, 6.0, 2.0]])), [[0.0, 1.0, 0.0, 2.0]])


def test_an_increment_over_a_gap_is_booked_when_the_counter_is_seen_again() -> None:
    np.testing.assert_array_equal(increments(np.array([[1.0, N, 3.0, 3.0]])), [[0.0, N, 2.0, 0.0]])


def test_a_counter_that_appears_with_its_first_event_counts_if_the_thing_was_there_before() -> None:
    counter = np.array([[N, N, 1.0], [N, N, 1.0]])
    existed = np.array([[True, True, True], [False, False, True]])
    np.testing.assert_array_equal(increments(counter, existed), [[N, N, 1.0], [N, N, 0.0]])
