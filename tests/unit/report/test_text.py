"""Numbers and cuts as they are shown."""

import pytest
from appstatus.report import text
from hypothesis import given
from hypothesis import strategies as st


@given(value=st.text(max_size=60), size=st.integers(0, 80))
def test_a_cut_never_exceeds_its_bytes_nor_splits_a_character(value, size):
    cut = text.cut(value, size)
    assert len(cut.encode()) <= size
    assert cut == value or value.startswith(cut.removesuffix("…").rstrip())


def test_a_cut_shows_that_it_is_one():
    assert text.cut("äöüäöü", 9) == "äöü…"
    assert text.cut("äöüäöü", 10) == "äöü…"
    assert text.cut("äöüäöü", 12) == "äöüäöü"
    assert text.cut("abcdef", 2) == ""


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.7, "1"), (87.4, "87"), (874, "870"), (12345, "12k"), (999_600, "1M"), (3_441_000, "3.4M")]
)
def test_counts_have_two_digits(value, shown):
    assert text.count(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0.2, "<1"), (1.44, "1.4"), (9.96, "10"), (28.4, "28")])
def test_burn_rates(value, shown):
    assert text.burn(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(40, "<1h"), (3600, "1h"), (47 * 3600, "47h"), (48 * 3600, "2d"), (4.9 * 86400, "4d")]
)
def test_coverage_is_rounded_down(seconds, shown):
    assert text.coverage(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(40, "40s"), (90, "2m"), (719, "12m"), (7200, "2h"), (200_000, "2d")])
def test_spans(seconds, shown):
    assert text.ago(seconds) == shown


def test_a_budget_is_rounded_down_so_that_nothing_looks_left_when_nothing_is():
    assert text.budget(0.0099, 1.0, 1.0) == "0%"
    assert text.budget(-0.001, 1.0, 1.0) == "-1%"


def test_figures_keep_their_text_while_they_are_close():
    assert text.steady(50.0, 60.0) == 50.0
    assert text.steady(50.0, 63.4) == 63.0
    assert text.steady(None, 63.4) == 63.0
    assert text.steady(0.0, 0.0) == 0.0
