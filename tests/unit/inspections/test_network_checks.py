import numpy as np
import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.api.policy import AppPolicy, Policy
from appstatus.api.scope import Scope
from appstatus.api.settings import Exclusion, Settings
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.model.series import F64
from appstatus.model.world import Traffic
from worlds import NOW, application, connection, key, last, series, traffic, world

REDIS, STRIPE = key("redis", "StatefulSet"), AppKey("", EXTERNAL, "api.stripe.com:443")


def policy(settings: Settings) -> Policy:
    return Policy(Scope((), {}), {key("cart"): AppPolicy(key("cart"), "default", "application", (), settings)}, {}, {})


def check(
    check_id: str, upstream: AppKey = REDIS, settings: Settings | None = None, requests: Traffic | None = None, **arrays: F64
) -> CheckResult:
    made = world([application(key("cart")), application(upstream)], [connection(key("cart"), upstream, requests, **arrays)])
    return next(r for r in run(made, policy(settings or Settings()), NOW)[key("cart")] if r.id == check_id)


@pytest.mark.parametrize(("rtt", "outcome"), [(0.05, "fail"), (0.002, "pass"), (np.nan, "unknown")])
def test_round_trip_time_in_the_cluster(rtt: float, outcome: str) -> None:
    found = check("NetworkRTT", rtt=series(0.001, rtt))
    assert found.outcome == outcome
    if outcome == "fail":
        assert found.value == pytest.approx(50.0)
        assert found.instances == ("shop/redis.statefulset",)


def test_round_trip_time_is_skipped_where_it_is_not_measured() -> None:
    assert check("NetworkRTT").outcome == "skip"


def test_services_outside_have_their_own_threshold() -> None:
    assert check("NetworkRTTExternal", STRIPE, rtt=series(0.1)).outcome == "pass"
    assert check("NetworkRTTExternal", STRIPE, rtt=series(0.3)).outcome == "fail"
    assert check("NetworkRTT", STRIPE, rtt=series(0.3)).outcome == "skip"


def test_failed_connects_fail_by_their_share() -> None:
    found = check("NetworkTCPConnections", failed_connects=last(4, 1.0), connects=series(3.0))
    assert found.outcome == "fail"
    assert found.evidence == "60 of 420 attempts"
    assert found.since == NOW - 45


def test_two_failed_connects_are_too_few_to_judge() -> None:
    assert check("NetworkTCPConnections", failed_connects=last(1, 2 / 15), connects=series(0.0)).outcome == "pass"


def test_failed_connects_before_the_window_are_over() -> None:
    old = series(5.0, 0.0)
    assert check("NetworkTCPConnections", failed_connects=old, connects=series(1.0)).outcome == "pass"


def test_connections_of_which_nothing_is_known_are_unknown() -> None:
    assert check("NetworkTCPConnections").outcome == "unknown"


def test_retransmits_fail_by_their_share_of_the_segments_sent() -> None:
    found = check("NetworkRetransmits", retransmits=series(2.0), segments_sent=series(20.0), bytes_sent=series(1e9))
    assert (found.outcome, found.value, found.evidence) == ("fail", pytest.approx(10.0), "600 of 6000 segments")
    assert check("NetworkRetransmits", retransmits=series(0.8), segments_sent=series(20.0)).outcome == "pass"


def test_lost_connection_requests_alone_are_all_that_was_sent() -> None:
    """A SYN carries no payload and is in no count of segments."""
    assert check("NetworkRetransmits", retransmits=series(1.0), segments_sent=series(0.0)).value == pytest.approx(100.0)


def test_more_duplicates_told_of_than_retransmits_are_no_retransmits() -> None:
    """The network itself may double packets."""
    assert check("NetworkRetransmits", retransmits=series(-1.0), segments_sent=series(20.0)).outcome == "pass"


def test_without_a_count_of_segments_the_bytes_tell_at_least_how_many() -> None:
    sent = series(1448.0 * 10)
    assert check("NetworkRetransmits", retransmits=series(2.0), bytes_sent=sent).outcome == "fail"
    assert check("NetworkRetransmits", retransmits=series(0.2), bytes_sent=sent).outcome == "pass"


def test_small_requests_count_as_a_segment_each() -> None:
    requests = traffic({"2xx": series(100.0)})
    assert check("NetworkRetransmits", requests=requests, retransmits=series(1.0), bytes_sent=series(100.0)).outcome == "pass"


def test_a_few_retransmits_are_too_few_to_judge() -> None:
    assert check("NetworkRetransmits", retransmits=last(2, 0.2), bytes_sent=series(0.0)).outcome == "pass"


def test_an_application_that_calls_nobody_is_skipped() -> None:
    results = run(world([application(key("cart"))]), None, NOW)[key("cart")]
    assert {r.outcome for r in results if r.area in ("net", "deps")} == {"skip"}


@pytest.mark.parametrize("pattern", ["redis", "shop/redis.*", "re?is"])
def test_an_excluded_peer_is_not_judged(pattern: str) -> None:
    excluded = Settings(peers=(Exclusion(pattern, "shop/quiet"),))
    assert check("NetworkRTT", settings=excluded, rtt=series(0.5)).outcome == "skip"
