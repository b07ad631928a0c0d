"""One query of several is not answered: what was known stays as it was, nothing is judged by half of the truth."""

import numpy as np
import pytest
from appstatus.api.names import ObjectRef
from appstatus.incidents.incident import marked
from appstatus.incidents.machine import step
from appstatus.incidents.observe import observe
from appstatus.model.world import Traffic
from appstatus.slo.ledger import Ledger
from timeline import CART, STEP, T0, Timeline, application, connection, objective, rate, world

HOUR = 3600.0
REF = ObjectRef("apps/v1", "Deployment", "shop", "cart", "cart")


class Audit:
    """Cycles of 15 s with the incidents' state machine behind them."""

    def __init__(self, line: Timeline) -> None:
        self.line = line
        self.parts = ()
        self.posted: list[str] = []

    def cycle(self):
        status = self.line.cycle()
        outcome = step(self.parts, {CART: observe(CART, REF, [status] if status else [])}, {}, {CART}, self.line.now)
        parts = {part.app: part for part in outcome.participations}
        for part, reason in outcome.due:
            self.posted.append(reason)
            parts[part.app] = marked(parts[part.app], reason)
        self.parts = tuple(parts.values())
        return status


def test_without_the_servers_side_a_few_losses_of_one_client_are_no_outage():
    """50/s from outside are fine; a client in the cluster asks once a second and gives up on every fifth request."""
    long = 3 * HOUR
    line = Timeline(rate((long, 50.8)), unanswered=rate((long, 0.2)), asked=rate((long, 0.8)), outside=rate((long, 50.0)))
    audit = Audit(line)
    for _ in range(240):
        audit.cycle()
    line.missing = dict.fromkeys(range(241, 246), ("requests_in",))
    statuses = [audit.cycle() for _ in range(20)]
    assert [status.state for status in statuses] == ["Met"] * 4 + ["NoData"] + ["Met"] * 15
    assert audit.posted == []
    assert statuses[-1].covered == 260 * STEP, "the gap was filled in"
    assert statuses[-1].total == pytest.approx(260 * STEP * 51, rel=1e-5)
    assert statuses[-1].good == pytest.approx(260 * STEP * 50.8, rel=1e-5)


@pytest.mark.parametrize("query", ["requests_out", "tcp_failed_connects", "requests_in"])
@pytest.mark.parametrize("cycles", [1, 5, 40])
def test_an_outage_is_not_over_because_a_query_is_not_answered(query, cycles):
    """A server that hangs: 97 % of the requests are lost, as only the clients can tell."""
    good, lost = rate((HOUR, 50.0), (2 * HOUR, 1.5)), rate((HOUR, 0.0), (2 * HOUR, 48.5))
    line = Timeline(good, unanswered=lost, asked=good)
    line.cycle(240)
    audit = Audit(line)
    before = [audit.cycle() for _ in range(20)][-1]
    assert before.state == "Outage" and audit.posted == ["SLOFastBurn"]
    line.missing = dict.fromkeys(range(261, 261 + cycles), (query,))
    during = [audit.cycle() for _ in range(cycles)]
    assert [status.state for status in during] == (["Outage"] * 4 + ["NoData"] * cycles)[:cycles]
    assert all(status.bad_ratio_5m is None or status.bad_ratio_5m == pytest.approx(0.97) for status in during)
    after = audit.cycle()
    assert after.state == "Outage" and after.bad_ratio_5m == pytest.approx(0.97, abs=1e-4)
    assert audit.posted == ["SLOFastBurn"]


@pytest.mark.parametrize("query", ["requests_in", "requests_in_buckets"])
def test_latency_without_its_queries_is_unknown_not_without_traffic(query):
    line = Timeline(rate((3 * HOUR, 10.0)), slow=rate((3 * HOUR, 0.01)), objective=objective("latency"))
    before = line.cycle(240)
    line.missing = dict.fromkeys(range(241, 251), (query,))
    states = [line.cycle() for _ in range(10)]
    assert [status.state for status in states] == ["Met"] * 4 + ["NoData"] * 6
    assert {status.total for status in states} == {before.total}
    assert line.cycle().total == pytest.approx(251 * STEP * 10, rel=1e-5)


def test_what_counts_for_availability_alone_leaves_latency_judged():
    line = Timeline(rate((3 * HOUR, 10.0)), slow=rate((3 * HOUR, 0.01)), objective=objective("latency"))
    line.cycle(240)
    line.missing = dict.fromkeys(range(241, 251), ("requests_out",))
    assert {line.cycle().state for _ in range(10)} == {"Met"}


def test_a_gap_is_filled_only_where_all_sides_are_there_again():
    """The rings are filled in pieces: after the gap of requests_out the clients' losses come back later than the answers."""
    wanted, ledger = objective(), Ledger(STEP, T0)
    times = T0 + STEP * np.arange(1, 241)
    good, lost = np.full(240, 1.5), np.full(240, 48.5)
    gap = slice(100, 230)
    for known in (False, True):
        there = np.full(240, True)
        there[gap] = known
        sent = {"2xx": np.where(there, good, np.nan), "overdue": np.where(there, lost, np.nan)}
        calls = connection(240, traffic=Traffic(sent))
        app = application(240, served=Traffic({"2xx": good}), downstreams=[calls])
        ledger.update(world(app, times), [wanted])
        status = ledger.evaluate([wanted], float(times[-1]))[CART][0]
        assert status.covered == (240 if known else 110) * STEP
        assert status.good / status.total == pytest.approx(0.03, abs=1e-4)


def test_what_came_late_is_counted_for_the_next_leader():
    line = Timeline(rate((3 * HOUR, 10.0)))
    line.cycle(100)
    before = line.ledger.cumulative([line.objective])[0]
    line.missing = dict.fromkeys(range(101, 121), ("requests_out",))
    for _ in range(20):
        line.cycle()
    assert line.ledger.cumulative([line.objective])[0] == before
    line.cycle()
    assert line.ledger.cumulative([line.objective])[0].total - before.total == pytest.approx(21 * STEP * 10, rel=1e-5)
