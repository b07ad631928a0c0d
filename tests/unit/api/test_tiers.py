import pytest
from appstatus.api.tiers import default_tiers, usable

DAY = 86400.0


def test_the_default_tiers_are_those_of_the_sre_workbook() -> None:
    tiers = default_tiers(30 * DAY)
    assert [(t.short, t.long, t.factor(30 * DAY)) for t in tiers] == [
        (300, 3600, pytest.approx(14.4)),
        (1800, 21600, pytest.approx(6)),
        (7200, 86400, pytest.approx(3)),
        (21600, 259200, pytest.approx(1)),
    ]
    assert [t.severity for t in tiers] == ["page", "page", "ticket", "ticket"]


def test_for_another_window_lengths_scale_and_factors_stay() -> None:
    week = default_tiers(7 * DAY)
    assert week[0].long == pytest.approx(840)
    assert [t.factor(7 * DAY) for t in week] == pytest.approx([t.factor(30 * DAY) for t in default_tiers(30 * DAY)])


def test_a_short_window_of_less_than_four_steps_is_dropped() -> None:
    kept, dropped = usable(default_tiers(5 * DAY), 5 * DAY, 0.99, 15.0)
    assert [d.tier.name for d in dropped] == ["fast"]
    assert "50s is less than 4 steps (1m)" in dropped[0].reason
    assert [t.name for t in kept] == ["medium", "slow", "long"]


def test_exactly_four_steps_are_enough() -> None:
    assert usable(default_tiers(6 * DAY), 6 * DAY, 0.99, 15.0)[1] == ()


def test_a_tier_that_no_failure_can_reach_is_dropped() -> None:
    kept, dropped = usable(default_tiers(30 * DAY), 30 * DAY, 0.9, 15.0)
    assert [d.tier.name for d in dropped] == ["fast"]
    assert "14.4 x 10% = 144%" in dropped[0].reason
    assert len(kept) == 3
