"""What counts as a good and as a bad request, and what does not count at all."""

import numpy as np
import pytest
from appstatus.model.world import BUCKETS, Traffic
from appstatus.slo.sli import effective_threshold, events, rates
from timeline import STEP, T0, Timeline, application, connection, objective, rate, world

TIMES = T0 + STEP * np.arange(1, 5)


def flat(value: float) -> np.ndarray:
    return np.full(4, value)


def found(app, wanted=None, **options):
    good, total = events(wanted or objective(), app, world(app, TIMES), **options)
    return good[-1] / STEP, total[-1] / STEP


def test_each_request_counts_once_answers_at_the_server_losses_at_the_clients():
    served = Traffic({"2xx": flat(90), "4xx": flat(5), "5xx": flat(3), "reset": flat(100), "overdue": flat(100)})
    calls = connection(
        4, traffic=Traffic({"2xx": flat(90), "4xx": flat(5), "5xx": flat(3), "closed": flat(1), "overdue": flat(0.5)})
    )
    calls.failed_connects = flat(0.5)
    app = application(4, served=served, downstreams=[calls])
    assert found(app) == (95, 100)


def test_losses_of_callers_outside_the_cluster_are_seen_at_the_server():
    app = application(4, served=Traffic({"2xx": flat(99), "reset": flat(7)}), outside=Traffic({"2xx": flat(9), "reset": flat(1)}))
    assert found(app) == (99, 100)


# Requests/s: what the server answered (of it to peers outside), what clients in the cluster saw, and what must be counted.
ONCE = {
    "all in the cluster, each given up and answered later": ({"2xx": 40}, {}, {"2xx": 0, "closed": 40}, (0, 40)),
    "all in the cluster, each given up and never answered": ({"2xx": 0}, {}, {"2xx": 0, "overdue": 40}, (0, 40)),
    "some given up and answered later, some never": ({"2xx": 95}, {}, {"2xx": 90, "closed": 5, "overdue": 5}, (90, 100)),
    "given up, then answered badly": ({"2xx": 90, "5xx": 10}, {}, {"2xx": 90, "5xx": 0, "reset": 10}, (90, 100)),
    "bad answers and late ones": ({"2xx": 94, "5xx": 3}, {}, {"2xx": 90, "5xx": 3, "closed": 7}, (90, 100)),
    "all outside": ({"2xx": 90, "closed": 10}, {"2xx": 90, "closed": 10}, {}, (90, 100)),
    "both, those in the cluster given up": ({"2xx": 90}, {"2xx": 50}, {"2xx": 0, "closed": 40}, (50, 90)),
    "both, outside given up too": ({"2xx": 90, "reset": 8}, {"2xx": 50, "reset": 8}, {"2xx": 35, "closed": 5}, (85, 98)),
    "both, none answered late": ({"2xx": 90}, {"2xx": 50}, {"2xx": 40, "overdue": 10}, (90, 100)),
    "the server without an agent": ({}, {}, {"2xx": 90, "closed": 10}, (90, 100)),
    "clients without an agent": ({"2xx": 95, "5xx": 5}, {}, {}, (95, 100)),
    "a client without an agent beside one that gives up": ({"2xx": 60}, {}, {"2xx": 0, "closed": 10}, (50, 60)),
    "no client has given up": ({"2xx": 100}, {}, {"2xx": 80, "closed": 0}, (100, 100)),
    "clients that were scraped later": ({"2xx": 95}, {}, {"2xx": 99, "closed": 1}, (95, 96)),
}


@pytest.mark.parametrize("case", ONCE)
def test_a_request_that_is_answered_after_its_client_gave_up_counts_once(case):
    served, outside, clients, expected = ONCE[case]

    def traffic(rates):
        return Traffic({status: flat(rate) for status, rate in rates.items()})

    app = application(4, served=traffic(served), outside=traffic(outside), downstreams=[connection(4, traffic=traffic(clients))])
    assert found(app) == expected


def test_answers_that_all_come_too_late_are_an_outage():
    """600 requests in a minute, each given up and then answered: none was good for its user."""
    lost = rate((3600, 0.0), (600, 10.0))
    line = Timeline(rate((4200, 10.0)), unanswered=lost, asked=10.0 - lost)
    before = line.cycle(240)
    status = line.cycle(4)
    assert (status.total - before.total, status.good - before.good) == (600, 0)
    assert status.state == "Outage"


def test_bad_statuses_are_the_users_choice_but_a_lost_request_is_always_bad():
    served = Traffic({"2xx": flat(90), "4xx": flat(5), "5xx": flat(5)})
    app = application(4, served=served, outside=Traffic({"closed": flat(10)}))
    assert found(app, objective(bad_statuses=frozenset({"4xx"}))) == (95, 110)


def test_no_endpoint_left_shows_as_failure():
    calls = connection(4, traffic=Traffic({"2xx": flat(np.nan), "closed": flat(0)}), failed_connects=flat(20))
    app = application(4, downstreams=[calls])
    app.instances.clear()
    assert found(app) == (0, 20)


def test_an_application_whose_protocol_is_unknown_does_not_consist_of_its_failed_connects():
    app = application(4, downstreams=[connection(4, connects=flat(20), failed_connects=flat(1))])
    assert found(app) == (0, 0)
    assert found(app, answered_before=True) == (0, 1), "but one that answered before does"


def test_without_the_agent_at_the_server_the_clients_view_counts():
    """Otherwise the few losses, which only clients see, would look like an outage."""
    calls = connection(4, traffic=Traffic({"2xx": flat(98), "5xx": flat(1), "reset": flat(1)}))
    app = application(4, downstreams=[calls])
    assert found(app) == (98, 100)
    app.served = Traffic({"2xx": flat(33), "5xx": flat(0)})  # one of three agents reports
    assert found(app) == (98, 100)
    app.served = Traffic({"2xx": flat(90), "5xx": flat(0.9)})  # only scraped at another moment
    assert found(app) == (90, pytest.approx(91.9))


def test_nobody_asking_is_no_traffic_but_a_silent_agent_is_no_data():
    app = application(4)
    assert found(app) == (0, 0)
    app.instances["cart-1"].containers["cart"].cpu_usage[-1] = np.nan
    assert np.isnan(found(app)).all()


def test_latency_is_the_share_of_good_answers_within_the_next_lower_bound():
    buckets = np.repeat(flat(100)[None, :], len(BUCKETS) + 1, axis=0)
    buckets[: BUCKETS.index(0.2) + 1] = 60
    buckets[BUCKETS.index(0.25)] = 90
    app = application(4, served=Traffic({"2xx": flat(100), "5xx": flat(50)}, buckets))
    assert found(app, objective("latency", threshold=0.25)) == (90, 100)
    assert found(app, objective("latency", threshold=0.24)) == (60, 100)


@pytest.mark.parametrize(("asked", "effective"), [(0.25, 0.25), (0.26, 0.25), (0.249, 0.2), (60.0, 30.0), (0.0005, None)])
def test_effective_threshold(asked, effective):
    assert effective_threshold(asked) == effective


def test_promql_from_good_or_bad():
    assert rates(flat(9), None, flat(10), STEP).good[0] == 135
    assert rates(None, flat(1), flat(10), STEP).good[0] == 135
    assert rates(flat(11), None, flat(10), STEP).good[0] == 150, "more good than all is all"
    assert np.isnan(rates(None, flat(np.nan), flat(10), STEP).total).all(), "half of the answer is no answer"
