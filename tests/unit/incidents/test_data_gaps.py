"""Data that were there and are missing: one Event when it lasts, one when they are back, whatever happens in between."""

from dataclasses import replace
from itertools import pairwise

import pytest
from appstatus.incidents.datagap import BACK, BOUND, CALM, PROJECT, DataGap, advance, marked
from appstatus.report.datagap import gap_document, read_gap
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_795_257_900.0
STEP = 15.0


class Leader:
    """Steps one object's gap; ``crash`` and ``change`` are a new leader, which knows what the status says."""

    def __init__(self, had: bool = True) -> None:
        self.now = NOW
        self.had = had
        self.gap: DataGap | None = None
        self.stored: DataGap | None = None
        self.ended: float | None = None
        self.events: list[str] = []

    def cycle(self, supply: str, *, hold: bool = False, posts: bool = True) -> None:
        self.now += STEP
        self.gap = advance(self.gap, "uid", supply, self.now, PROJECT, had=self.had, hold=hold, ended=self.ended)  # type: ignore[arg-type]
        self.had = self.had or supply == "fresh"
        self.stored = self.gap
        while posts and self.gap is not None and self.gap.next is not None:
            # The API server refuses a second Event of the same name.
            name = f"{self.gap.next} {self.gap.since:.0f}"
            self.events += [name] if name not in self.events else []
            self.gap = self.stored = marked(self.gap, self.gap.next)
            self.ended = self.gap.until if self.gap.done else self.ended

    def run(self, supply: str, seconds: float, **how: bool) -> None:
        for _ in range(round(seconds / STEP)):
            self.cycle(supply, **how)

    def change(self) -> None:
        self.ended = None
        self.gap = None if self.stored is None else read_gap(gap_document(self.stored), "uid")

    @property
    def told(self) -> list[str]:
        return [name.split()[0] for name in self.events]


def test_it_is_told_once_after_the_bound_and_once_when_data_are_back():
    leader = Leader()
    leader.run("missing", BOUND)
    assert leader.told == []
    leader.run("missing", 6 * 3600)
    assert leader.told == ["DataLost"]
    leader.run("fresh", BACK)
    assert leader.told == ["DataLost"]
    leader.run("fresh", 3600)
    assert leader.told == ["DataLost", "DataRestored"] and leader.gap is None


def test_what_never_had_data_cannot_lose_them():
    leader = Leader(had=False)
    leader.run("missing", 3600)
    assert leader.told == [] and leader.gap is None
    leader.run("fresh", STEP)
    leader.run("missing", 3600)
    assert leader.told == ["DataLost"]


def test_a_short_gap_is_not_told():
    leader = Leader()
    for _ in range(10):
        leader.run("missing", BOUND - STEP)
        leader.run("fresh", BACK + STEP)
    assert leader.told == [] and leader.gap is None


def test_a_query_that_fails_now_and_then_is_no_gap():
    leader = Leader()
    for _ in range(100):
        leader.run("missing", STEP)
        leader.run("fresh", 3 * STEP)
    leader.run("fresh", BACK)
    assert leader.told == [] and leader.gap is None


@pytest.mark.parametrize(("missing", "fresh"), [(285, 15), (60, 45), (180, 105)])
def test_data_that_are_there_less_than_half_of_the_time_are_told(missing, fresh):
    leader = Leader()
    for _ in range(100):
        leader.run("missing", missing)
        leader.run("fresh", fresh)
    assert leader.told == ["DataLost"]


def test_the_same_trouble_is_told_twice_at_most_until_it_has_been_over_for_long():
    leader = Leader()
    for _ in range(180):  # a day
        leader.run("missing", 330)
        leader.run("fresh", 150)
    assert leader.told == ["DataLost", "DataRestored", "DataLost"]
    leader.run("fresh", CALM)
    assert leader.told == ["DataLost", "DataRestored", "DataLost", "DataRestored"]
    leader.run("fresh", CALM)
    leader.run("missing", 330)
    leader.run("fresh", 150)
    assert leader.told[4:] == ["DataLost", "DataRestored"], "later it is another one"


def test_what_nobody_looked_at_is_not_missing():
    """The workload of an SLO was deleted when its data had just gone, and is back three days later."""
    leader = Leader()
    leader.run("missing", STEP)
    leader.run("unknown", 3 * 86400)
    leader.run("missing", BOUND)
    leader.run("fresh", BACK + STEP)
    assert leader.told == [] and leader.gap is None


def test_no_warning_once_the_data_are_back():
    """The API server was away too: the end alone is told, which says how long it was."""
    leader = Leader()
    leader.run("missing", 2 * BOUND, posts=False)
    leader.run("fresh", 2 * STEP, posts=False)
    leader.run("fresh", BACK)
    assert leader.told == ["DataRestored"] and leader.gap is None


def test_a_warning_that_waits_is_posted_when_the_data_go_again():
    leader = Leader()
    leader.run("missing", 2 * BOUND, posts=False)
    leader.run("fresh", 60, posts=False)
    leader.run("fresh", STEP)
    assert leader.told == []
    leader.run("missing", STEP)
    assert leader.told == ["DataLost"]


def test_once_told_data_that_come_and_go_are_one_gap():
    leader = Leader()
    leader.run("missing", BOUND + STEP)
    for _ in range(20):
        leader.run("missing", 60)
        leader.run("fresh", 60)
    assert leader.told == ["DataLost"]
    leader.run("fresh", 300)
    assert leader.told == ["DataLost", "DataRestored"]


def test_nothing_known_changes_nothing():
    leader = Leader()
    leader.run("missing", BOUND + 60)
    before = leader.gap
    leader.run("unknown", 3600)
    assert leader.gap == before and leader.told == ["DataLost"]


def test_while_somebody_else_tells_it_it_is_not_told_again():
    leader = Leader()
    leader.run("missing", 3600, hold=True)
    assert leader.told == []
    leader.run("missing", STEP)
    assert leader.told == ["DataLost"], "the other's gap is over, this one is not"


def test_an_object_of_the_same_name_starts_anew():
    gap = DataGap("old", NOW, posted=("DataLost",))
    assert advance(gap, "new", "missing", NOW + 900, PROJECT, had=False) is None
    assert advance(gap, "new", "fresh", NOW + 900, PROJECT, had=True) is None


def test_the_next_gap_waits_until_the_end_of_the_last_is_told():
    leader = Leader()
    leader.run("missing", BOUND + STEP)
    leader.run("fresh", BACK + STEP, posts=False)
    leader.run("missing", 2 * BOUND, posts=False)
    assert leader.gap is not None and leader.gap.due == ("DataRestored",)
    leader.run("missing", 2 * BOUND)
    assert leader.told == ["DataLost", "DataRestored", "DataLost"]


@pytest.mark.parametrize("until", [None, NOW + 600])
def test_the_state_survives_its_text(until):
    for gap in (
        DataGap("uid", NOW, until),
        DataGap("uid", NOW, until, due=("DataLost",)),
        DataGap("uid", NOW, until, posted=("DataLost",), due=("DataRestored",)),
    ):
        assert read_gap(gap_document(gap), "uid") == gap
        assert read_gap(gap_document(gap), "other") == replace(gap, uid="other")


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(["fresh", "missing", "unknown"]), st.booleans(), st.booleans()), min_size=1, max_size=200)
)
def test_whatever_happens_each_beginning_has_its_end(cycles):
    """New leaders at any moment, and cycles in which nothing can be posted."""
    leader = Leader()
    for supply, change, posts in cycles:
        for _ in range(5):
            leader.cycle(supply, posts=posts)
        if change:
            leader.change()
    leader.run("unknown", STEP)
    # An end without its beginning is of one that could not be posted while it lasted.
    assert ("DataLost", "DataLost") not in pairwise(leader.told)
    if leader.gap is None:
        assert leader.told[-1:] != ["DataLost"]
