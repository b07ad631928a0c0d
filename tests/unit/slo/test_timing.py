"""From the first failed request to the Event, and from healing to the recovery: scrapes, grid and cycles, second by second."""

import numpy as np
import pytest
from appstatus.api.names import ObjectRef
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.incidents.incident import marked
from appstatus.incidents.machine import step
from appstatus.incidents.observe import observe
from timeline import CART, DAY, STEP, T0, Timeline, objective

HOUR = 3600
CYCLE_TAKES = 1.0  # seconds from the grid's newest column to the posted Event
REF = ObjectRef("apps/v1", "Deployment", "shop", "cart", "uid-cart")


def diagnosis(now: float) -> Diagnosis:
    return Diagnosis(CART, now, now, (Cause(CART, "instance-down", 0.9, (CART,), ()),), True)


class Operator:
    """Cycles every 15 s; the target is scraped ``phase`` seconds after each grid line, so a scrape waits for the next one."""

    def __init__(self, good, bad, slow, wanted, phase: float, plain: bool = True) -> None:
        def steps(rate):
            """Events/s between scrapes, from a function of the second."""
            if rate is None:
                return None
            seconds = np.array([rate(second + phase - STEP) for second in range(3 * HOUR)], dtype=float)
            return seconds.reshape(-1, int(STEP)).mean(axis=1)

        self.line = Timeline(steps(good), steps(bad), slow=steps(slow), objective=wanted, window=40)
        self.parts = ()
        self.plain = plain
        self.posted: list[tuple[str, float]] = []

    def run(self, until: float) -> None:
        while self.line.now - T0 < until:
            status = self.line.cycle()
            now = self.line.now + CYCLE_TAKES
            seen = {CART: observe(CART, REF, [status] if status else [])}
            outcome = step(self.parts, seen, {CART: diagnosis(now)} if self.plain else {}, {CART}, now)
            parts = {part.app: part for part in outcome.participations}
            for part, reason in outcome.due:
                self.posted.append((reason, now - T0))
                parts[part.app] = marked(parts[part.app], reason)
            for part in outcome.closed:
                self.line.ledger.forgive(part.app, part.closed)
            self.parts = tuple(parts.values())

    def when(self, reason: str) -> float:
        times = [at for each, at in self.posted if each == reason]
        assert len(times) == 1, self.posted
        return times[0]


@pytest.mark.parametrize("phase", [0, 14])
@pytest.mark.parametrize("second", [1, 8, 15])
def test_a_total_outage_posts_within_75_seconds_and_recovers_within_6_minutes(phase, second):
    begin, end = HOUR + second, HOUR + second + 900

    def bad(at):
        return 20.0 if begin <= at < end else 0.0

    operator = Operator(lambda at: 20.0 - bad(at), bad, None, objective(), phase)
    operator.run(1.5 * HOUR)
    assert [reason for reason, _ in operator.posted] == ["SLOFastBurn", "SLORecovered"]
    assert operator.when("SLOFastBurn") - begin <= 75 + CYCLE_TAKES
    assert operator.when("SLORecovered") - end <= 360


def test_without_a_plain_cause_it_posts_a_minute_later():
    begin = HOUR + 5

    def bad(at):
        return 20.0 if begin <= at < begin + 900 else 0.0

    operator = Operator(lambda at: 20.0 - bad(at), bad, None, objective(), 4, plain=False)
    operator.run(1.5 * HOUR)
    assert 75 < operator.when("SLOFastBurn") - begin <= 75 + 60 + CYCLE_TAKES


def test_an_outage_of_three_minutes_is_not_missed():
    begin = HOUR + 7

    def bad(at):
        return 20.0 if begin <= at < begin + 180 else 0.0

    operator = Operator(lambda at: 20.0 - bad(at), bad, None, objective(), 4)
    operator.run(1.5 * HOUR)
    assert [reason for reason, _ in operator.posted] == ["SLOFastBurn", "SLORecovered"]


def test_14_percent_slow_answers_post_within_the_closed_form_and_45_seconds():
    """With an hour of healthy data before: the rest of the windows counts as good, which changes nothing for the fast tier."""
    begin = HOUR + 7
    wanted = objective("latency", ratio=0.995)
    closed_form = 3600 * 14.4 * 0.005 / 0.14

    def slow(at):
        return 7.0 if begin <= at < begin + 2700 else 0.0

    operator = Operator(lambda at: 50.0, None, slow, wanted, 8)
    operator.run(2.8 * HOUR)
    assert closed_form <= operator.when("SLOFastBurn") - begin <= closed_form + 45
    assert operator.when("SLORecovered") - begin - 2700 <= 360


def test_a_flapping_service_is_one_incident_while_it_flaps():
    """A minute down, two minutes up, for half an hour: it never meets the objective for five minutes."""
    begin = HOUR

    def bad(at):
        return 20.0 if begin <= at < begin + 1800 and (at - begin) % 180 < 60 else 0.0

    operator = Operator(lambda at: 20.0 - bad(at), bad, None, objective(), 4)
    operator.run(2.5 * HOUR)
    assert [reason for reason, _ in operator.posted] == ["SLOFastBurn", "SLORecovered"]


def test_healthy_traffic_posts_nothing():
    random = np.random.default_rng(3)
    operator = Operator(lambda at: 20.0, lambda at: float(random.random() < 0.05), None, objective(ratio=0.99), 4)
    operator.run(2.9 * HOUR)
    assert operator.posted == []
    assert operator.line.ledger.evaluate([operator.line.objective], operator.line.now)[CART][0].covered < DAY
