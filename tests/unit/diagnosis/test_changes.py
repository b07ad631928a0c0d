"""Which change is to blame, and what else than a change is."""

import numpy as np
import pytest
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.logs import meaning
from appstatus.diagnosis.result import Cause, Diagnosis
from appstatus.model.facts import Change
from appstatus.model.world import Application, LogPattern, Node, World
from worlds import NOW, ONSET, TIMES, T, application, connection, container, instance, key, series, traffic, world

WEB, CART, BATCH = key("web"), key("cart"), key("batch")


def shop(cart: Application, *others: Application, slow: float = 0.01, failing: float = 0.0, nodes: tuple[Node, ...] = ()) -> World:
    """web calls cart, which becomes slow or fails at the onset."""
    rate = series(20.0)
    bad = rate * series(0.0, failing)
    mean = series(0.01, slow)
    web = application(WEB)
    web.served = traffic({"2xx": rate - bad, "5xx": bad}, mean + 0.005)
    cart.served = traffic({"2xx": rate - bad, "5xx": bad}, mean)
    edge = connection(WEB, CART, traffic({"2xx": rate - bad, "5xx": bad}, mean + 0.0005))
    return world([web, cart, *others], [edge], nodes)


def cart(*changes: tuple[float, str], kind: str = "rollout") -> Application:
    """``changes``: seconds before the onset, what."""
    made = application(CART, [instance("cart-0")])
    made.changes = tuple(Change(ONSET - before, kind, what) for before, what in changes)
    return made


def diagnosed(made: World) -> Diagnosis:
    return diagnose(made, {}, WEB, [], NOW)


def cause(made: World) -> Cause:
    found = diagnosed(made)
    assert found.dominant, found
    return found.causes[0]


def blamed(found: Cause) -> list[str]:
    return [e.subject for e in found.evidence if e.signal in ("rollout", "earlier-rollout")]


def since(seconds_before_onset: float, before: float, after: float) -> np.ndarray:
    return np.where(ONSET - seconds_before_onset < TIMES, after, before)


def test_of_changes_in_close_order_the_first_is_named() -> None:
    assert blamed(cause(shop(cart((400, "v2"), (60, "v3")), failing=0.5))) == ["v2"]


def test_a_change_that_was_over_before_the_next_began_is_not_named() -> None:
    assert blamed(cause(shop(cart((700, "v2"), (60, "v3")), failing=0.5))) == ["v3"]


def test_a_row_of_changes_that_ended_long_before_is_not_named() -> None:
    assert blamed(cause(shop(cart((500, "v2"), (300, "v3")), failing=0.5))) == []


def test_a_rollout_is_blamed_before_a_configuration() -> None:
    made = cart((60, "v2"))
    made.changes += (Change(ONSET - 30, "config", "settings"),)
    assert blamed(cause(shop(made, failing=0.5))) == ["v2"]


def test_a_configuration_is_blamed_where_nothing_else_was_changed() -> None:
    assert blamed(cause(shop(cart((30, "settings"), kind="config"), failing=0.5))) == ["settings"]


def test_an_earlier_release_with_which_a_metric_of_the_exporter_moved() -> None:
    made = cart((1500, "v2"), (700, "v3"))
    made.gauges["rows_read"] = since(1500, 50.0, 9e5)
    found = cause(shop(made, slow=0.4))
    assert (found.klass, blamed(found)) == ("bad-release", ["v2"])
    assert ("rows_read", 50.0, 9e5) in [(e.subject, e.before, e.during) for e in found.evidence]


@pytest.mark.parametrize(
    "gauge",
    [
        since(1200, 50.0, 9e5),  # five minutes after the release
        since(2100, 50.0, 9e5),  # ten minutes before it
        since(1500, 50.0, 52.0),  # hardly
        np.linspace(50.0, 9e5, T),  # rising all the time
        np.where((TIMES > ONSET - 1500) & (TIMES < ONSET - 1200), 9e5, 50.0),  # over by then
    ],
)
def test_an_earlier_release_is_innocent_of_what_did_not_move_with_it(gauge: np.ndarray) -> None:
    made = cart((1500, "v2"))
    made.gauges["rows_read"] = gauge
    found = cause(shop(made, slow=0.4))
    assert (found.klass, blamed(found)) == ("inside", [])


def test_a_change_that_fits_the_first_sign_of_a_slow_rise() -> None:
    made = cart((360, "v2"))
    made.gauges["queue"] = np.where(ONSET - 330 < TIMES, 40.0, 1.0)
    found = cause(shop(made, failing=0.5))
    assert (found.klass, blamed(found)) == ("bad-release", ["v2"])


def test_a_configuration_at_the_onset_yields_to_a_rollout_with_which_something_moved() -> None:
    made = cart((1500, "v2"))
    made.changes += (Change(ONSET - 30, "config", "settings"),)
    made.gauges["rows_read"] = since(1500, 50.0, 9e5)
    assert blamed(cause(shop(made, failing=0.5))) == ["v2"]


@pytest.mark.parametrize(
    ("line", "klass"),
    [
        ("x509: certificate has expired or is not yet valid", "certificate"),
        ("lookup db.shop.svc.cluster.local on 10.96.0.10:53: read udp: i/o timeout", "dns"),
        ("zone eu-west-1a is degraded", "zone-down"),
        ("POST https://api.payments.com/v1: 503 Service Unavailable", "external"),
        ("write /data/wal: no space left on device", "disk-full"),
        ("cannot decode record at partition 3 offset 12", "bad-input"),
        ("something went wrong", "error-burst"),
    ],
)
def test_new_errors_in_the_log_say_what_it_is(line: str, klass: str) -> None:
    made = cart()
    made.logs = [LogPattern("hello", False, series(0.0, 9.0)), LogPattern(line, True, series(0.0, 0.5))]
    found = cause(shop(made, failing=0.5))
    assert (found.app, found.klass) == (CART, klass)
    assert (line, 0.0, 0.5) in [(e.subject, e.before, e.during) for e in found.evidence]


@pytest.mark.parametrize("pattern", [LogPattern("ENOSPC", True, series(0.5)), LogPattern("ENOSPC", False, series(0.0, 0.5))])
def test_lines_that_were_there_before_or_are_no_warnings_say_nothing(pattern: LogPattern) -> None:
    made = cart()
    made.logs = [pattern]
    assert cause(shop(made, failing=0.5)).klass == "error-burst"


def test_no_release_lets_a_certificate_expire() -> None:
    made = cart((60, "v2"))
    made.gauges["tls_handshake_failures"] = series(0.0, 5.0)
    assert cause(shop(made, failing=0.5)).klass == "certificate"


@pytest.mark.parametrize("text", ["lookup of agent failed: not found", "no such host", "x509er", "provided 3 items", "handled"])
def test_plain_words_mean_nothing(text: str) -> None:
    assert meaning(text) == "new-log-pattern"


def busy(usage: float) -> World:
    """cart is throttled on a node that batch fills."""
    limited = container(cpu_usage=series(0.8, usage), cpu_throttled=series(0.0, 0.5))
    made = application(CART, [instance("cart-0", "n1", containers=[limited])])
    made.changes = (Change(ONSET - 900, "rollout", "v2"),)
    batch = application(BATCH, [instance("batch-0", "n1", containers=[container(cpu_usage=series(0.0, 6.0))])])
    return shop(made, batch, slow=0.4, nodes=(Node("n1", True, cpu_usage=series(0.3, 0.97)),))


def test_throttled_without_using_more_on_a_node_that_another_fills() -> None:
    found = cause(busy(0.9))
    assert (found.app, found.klass, blamed(found)) == (BATCH, "noisy-neighbour", [])


def test_throttled_by_its_own_growth_on_a_busy_node() -> None:
    assert cause(busy(2.0)).klass == "cpu-throttled"
