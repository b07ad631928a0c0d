"""From rows of the kernel to text: golden lines, and counters that never fall."""

import itertools

import numpy as np
import pytest
from appstatus_agent.exposition import Page, escape, number
from appstatus_agent.kernel import rows
from appstatus_agent.readers import MOST, Readers
from appstatus_agent.traffic import Traffic

OWNERS = {7: "/k8s/shop/cart-1/cart", 8: "/k8s/shop/cart-1/cart", 9: '/odd/"name"\\', 10: None}


def request(owner=7, destination="10.96.0.10", port=80, actual="10.244.0.5", actual_port=8080, **values):
    row = np.zeros(1, rows.REQUEST)
    key = row["key"]
    key["owner"], key["direction"], key["protocol"] = owner, rows.OUTBOUND, 1
    key["destination"], key["destination_port"] = np.frombuffer(rows.packed(destination), np.uint8), port
    if actual:
        key["actual"], key["actual_port"] = np.frombuffer(rows.packed(actual), np.uint8), actual_port
    return fill(row, values)


def inbound(owner=7, peer="cluster", **values):
    row = np.zeros(1, rows.REQUEST)
    row["key"]["owner"], row["key"]["direction"], row["key"]["protocol"] = owner, rows.INBOUND, 1
    row["key"]["peer"] = rows.PEERS.index(peer)
    return fill(row, values)


def fill(row, values):
    for name, value in values.items():
        if name in rows.STATUSES or f"{name[1:]}" in rows.STATUSES:
            row["value"]["ended"][0, rows.STATUSES.index(name.lstrip("s"))] = value
        elif name == "latency":
            for bucket, count in value.items():
                row["value"]["latency"][0, bucket] = count
        else:
            row["value"][name] = value
    return row


def tcp(direction=rows.OUTBOUND, owner=7, destination="10.96.0.10", port=80, actual="", **values):
    row = np.zeros(1, rows.TCP)
    row["key"]["owner"], row["key"]["direction"] = owner, direction
    row["key"]["destination"], row["key"]["destination_port"] = np.frombuffer(rows.packed(destination), np.uint8), port
    if actual:
        row["key"]["actual"], row["key"]["actual_port"] = np.frombuffer(rows.packed(actual), np.uint8), 8080
    for name, value in values.items():
        row["value"][name] = value
    return row


class Scraped(Traffic):
    """With who reads it, and the time."""

    def __init__(self):
        super().__init__([("machine_id", "m1")], OWNERS.get)
        self.readers, self.now = Readers(), 1000.0


@pytest.fixture
def traffic():
    return Scraped()


def text(traffic, requests=(), tcp_rows=()):
    """The page once these rows are not new any more."""
    scrape(traffic, requests, tcp_rows)
    return scrape(traffic, requests, tcp_rows)


def scrape(traffic, requests=(), tcp_rows=(), reader="10.244.0.2", after=15, delivered=True):
    """`after` seconds later."""
    traffic.now += after
    traffic.update_requests(np.concatenate(requests) if len(requests) else np.zeros(0, rows.REQUEST), traffic.now)
    traffic.update_tcp(np.concatenate(tcp_rows) if len(tcp_rows) else np.zeros(0, rows.TCP), traffic.now)
    page = Page()
    traffic.add(page, traffic.readers.since(reader, traffic.now))
    if delivered:
        traffic.readers.has_read(reader, traffic.now)
    return page.text()


def samples(page_text, start):
    lines = [line for line in page_text.splitlines() if line.startswith(start)]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_outbound_requests_golden(traffic):
    page = text(traffic, [request(s2xx=3, s5xx=1, latency={0: 1, 4: 2, 24: 1}, latency_sum=42_500_000_000, in_flight=2)])
    labels = 'machine_id="m1",container_id="/k8s/shop/cart-1/cart",destination="10.96.0.10:80",actual_destination="10.244.0.5:8080"'
    assert [line for line in page.splitlines() if line.startswith("container_http_requests_total")] == [
        f'container_http_requests_total{{{labels},status="{status}"}} {count}'
        for status, count in zip(rows.STATUSES, (0, 3, 0, 0, 1, 0, 0, 0, 0), strict=True)
    ]
    assert f"container_http_requests_in_flight{{{labels}}} 2\n" in page
    buckets = [line for line in page.splitlines() if line.startswith("container_http_requests_duration_seconds_total_bucket")]
    bounds = [line.split('le="')[1].split('"')[0] for line in buckets]
    assert " ".join(bounds) == (
        "0.001 0.0025 0.005 0.01 0.015 0.025 0.05 0.075 0.1 0.15 0.2 0.25 0.3 0.4 0.5 0.75 1 1.5 2 2.5 5 7.5 10 30 +Inf"
    )
    assert [int(line.rsplit(" ", 1)[1]) for line in buckets] == [1, 1, 1, 1] + [3] * 20 + [4]
    assert f"container_http_requests_duration_seconds_total_sum{{{labels}}} 42.5\n" in page
    assert f"container_http_requests_duration_seconds_total_count{{{labels}}} 4\n" in page
    assert page.count("# TYPE container_http_requests_duration_seconds_total histogram\n") == 1


def test_inbound_requests_have_a_class_of_peer(traffic):
    page = text(traffic, [inbound(peer="kubelet", s2xx=5), inbound(peer="outside", s2xx=1)])
    start = 'container_http_inbound_requests_total{machine_id="m1",container_id="/k8s/shop/cart-1/cart",peer='
    counts = samples(page, start)
    assert {key.removeprefix(start): value for key, value in counts.items() if value} == {
        '"kubelet",status="2xx"}': 5,
        '"outside",status="2xx"}': 1,
    }


def test_failure_series_are_there_from_the_first_request(traffic):
    page = text(traffic, [request(s2xx=1)])
    for status in ("4xx", "5xx", "reset", "closed", "overdue"):
        assert f'status="{status}"}} 0\n' in page


def test_folded_and_unknown_destinations(traffic):
    folded = request(destination="::", port=0, actual="", s2xx=1)
    folded["key"]["folded"] = 1
    unknown = request(actual="", destination="2001:db8::1", s2xx=1)
    page = text(traffic, [folded, unknown])
    assert 'destination="~other",actual_destination="",status="2xx"} 1\n' in page
    assert 'destination="[2001:db8::1]:80",actual_destination="",status="2xx"} 1\n' in page


def test_two_lives_of_a_container_are_one_series(traffic):
    page = text(traffic, [request(owner=7, s2xx=10, in_flight=1), request(owner=8, s2xx=4, in_flight=2)])
    assert sum(samples(page, "container_http_requests_total").values()) == 14
    assert sum(samples(page, "container_http_requests_in_flight").values()) == 3


def test_a_row_that_leaves_does_not_make_its_series_fall(traffic):
    text(traffic, [request(owner=7, s2xx=10, in_flight=1), request(owner=8, s2xx=4)])
    page = text(traffic, [request(owner=8, s2xx=5)])
    assert sum(samples(page, "container_http_requests_total").values()) == 15
    assert sum(samples(page, "container_http_requests_in_flight").values()) == 0
    page = text(traffic, [request(owner=8, s2xx=6)])
    assert sum(samples(page, "container_http_requests_total").values()) == 16


def test_a_row_that_starts_again_does_not_make_its_series_fall(traffic):
    text(traffic, [request(s2xx=10)])
    page = text(traffic, [request(s2xx=1)])
    assert sum(samples(page, "container_http_requests_total").values()) == 11


def test_a_series_without_rows_leaves_and_others_keep_their_text(traffic):
    first, second = request(s2xx=1), request(destination="10.96.0.11", s2xx=2)
    text(traffic, [first, second])
    page = text(traffic, [second])
    assert "10.96.0.10" not in page
    assert sum(samples(page, "container_http_requests_total").values()) == 2
    assert text(traffic) == ""


def total(page, metric="container_http_requests_total"):
    return sum(samples(page, metric).values())


def increase(*values):
    """What Prometheus' increase() counts between samples: a fall is a restart at 0, the first sample says nothing."""
    return sum(value - before if value >= before else value for before, value in itertools.pairwise(values))


def test_a_label_sets_first_failure_is_visible_to_rate(traffic):
    pages = [scrape(traffic, rows_then) for rows_then in ([], [request(s5xx=1)], [request(s5xx=1)], [request(s5xx=3)])]
    assert "container_http_requests_total" not in pages[0]
    assert [total(page) for page in pages[1:]] == [0, 1, 3]
    failed = [scrape(traffic, tcp_rows=[tcp(failed=count)]) for count in (2, 2, 3)]
    assert [total(page, "container_net_tcp_failed_connects_total") for page in failed] == [0, 2, 3]


def test_a_label_sets_first_failure_is_visible_to_each_of_two_replicas(traffic):
    """Whichever reads first, and whoever else reads in between."""
    seen = {reader: [] for reader in ("10.244.0.2", "10.244.1.2", "127.0.0.1")}
    turns = ["10.244.0.2", "10.244.1.2"] * 2 + ["127.0.0.1"] + ["10.244.1.2", "10.244.0.2"] * 2
    for turn, reader in enumerate(turns):
        page = scrape(traffic, [request(s5xx=turn - 1)] if turn >= 2 else [], reader=reader, after=7)
        seen[reader].append(total(page))
    assert seen == {"10.244.0.2": [0, 0, 5, 7], "10.244.1.2": [0, 0, 4, 6], "127.0.0.1": [0]}


def test_what_happened_before_a_reader_came_is_not_new_to_it(traffic):
    """A Prometheus that starts with another address, or comes back after an hour, must not see days of errors as an increase."""
    scrape(traffic, [request(s5xx=500)])
    assert total(scrape(traffic, [request(s5xx=500)], reader="10.244.1.3", after=300)) == 500
    other = [request(s5xx=500), request(destination="10.96.0.11", s5xx=70)]
    scrape(traffic, other, reader="10.244.1.3")
    assert total(scrape(traffic, other, after=3600)) == 570


@pytest.mark.parametrize("turns", ["AAB", "AABABBA", "ABBABA", "AABCACB"])
def test_a_counter_never_falls_for_a_prometheus_that_has_several_addresses(traffic, turns):
    """A pod replaced that keeps its volume, or NAT: one database behind every address."""
    seen = [total(scrape(traffic, [request(s5xx=40 * turn)], reader=reader)) for turn, reader in enumerate(turns, 1)]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 40 * len(turns))


def test_a_counter_never_falls_though_more_readers_come_than_are_remembered(traffic):
    hosts = [f"10.0.{turn}.{host}" for turn in range(3) for host in range(MOST)]
    turns = enumerate(["A", "A", *hosts, "A"])
    seen = [total(scrape(traffic, [request(s5xx=turn)], reader=reader, after=1)) for turn, reader in turns]
    assert seen == sorted(seen)


def test_a_replica_that_comes_later_sees_the_0_of_what_nobody_has_read_in_full(traffic):
    assert total(scrape(traffic, [request(s5xx=3)], reader="A")) == 0
    assert [total(scrape(traffic, [request(s5xx=3)], reader=reader, after=7)) for reader in "BAB"] == [0, 3, 3]


def test_the_first_errors_are_visible_though_a_scrape_was_not_delivered(traffic):
    assert [
        total(scrape(traffic, [request(s5xx=5)], delivered=delivered)) for delivered in (False, True, False, True)
    ] == [0, 0, 5, 5]


def test_a_bounded_number_of_readers_is_remembered():
    readers = Readers()
    for host in range(MOST + 1):
        readers.has_read(f"10.0.0.{host}", 1.0 + host)
    assert readers.since("10.0.0.0", 100.0) == 0, "the one that read longest ago"
    assert readers.since("10.0.0.1", 100.0) == 2.0


def test_a_page_that_took_longer_than_the_next_one_does_not_turn_back():
    readers = Readers()
    readers.has_read("10.0.0.1", 20.0)
    readers.has_read("10.0.0.1", 10.0)
    assert readers.since("10.0.0.1", 30.0) == 20.0


def test_gauges_are_of_now_from_the_first_scrape_on(traffic):
    page = scrape(traffic, [request(s2xx=1, in_flight=3)])
    assert (total(page), total(page, "container_http_requests_in_flight")) == (0, 3)


def test_what_a_row_counts_that_was_idle_and_comes_back_is_visible_to_rate(traffic):
    old, new = [request(s5xx=1)], [request(s5xx=1)]
    seen = [total(text(traffic, old))]
    traffic.forget([row["key"].tobytes() for row in old])
    assert scrape(traffic) == "", "a scrape between the row's end and its return"
    seen += [total(scrape(traffic, new)), total(scrape(traffic, new))]
    assert increase(*seen) == increase(*seen[1:]) == 1, seen


def test_a_row_that_comes_back_between_two_scrapes_counts_anew(traffic):
    """Its counters need not be below the old ones."""
    text(traffic, [request(s5xx=1)], [tcp(failed=1)])
    traffic.forget([request()["key"].tobytes(), tcp()["key"].tobytes()])
    page = scrape(traffic, [request(s5xx=1)], [tcp(failed=2)])
    assert (total(page), total(page, "container_net_tcp_failed_connects_total")) == (2, 3)


def test_a_container_that_is_not_known_yet_appears_later_with_everything(traffic, monkeypatch):
    assert "container_id" not in text(traffic, [request(owner=10, s2xx=3)])
    monkeypatch.setitem(OWNERS, 10, "/k8s/shop/late/late")
    page = text(traffic, [request(owner=10, s2xx=5)])
    assert samples(page, "container_http_requests_total")[
        'container_http_requests_total{machine_id="m1",container_id="/k8s/shop/late/late",'
        'destination="10.96.0.10:80",actual_destination="10.244.0.5:8080",status="2xx"}'
    ] == 5


def test_labels_are_escaped(traffic):
    page = text(traffic, [request(owner=9, s2xx=1)])
    assert r'container_id="/odd/\"name\"\\"' in page


def test_connections(traffic):
    page = text(traffic, tcp_rows=[
        tcp(actual="10.244.0.5", connects=3, connect_time=1_500_000, active=2, bytes_sent=100, bytes_received=2_000,
            segments=9, retransmits=3, spurious=2, rtt_sum=600, rtt_count=2),
        tcp(failed=4),
    ])
    of = '{machine_id="m1",container_id="/k8s/shop/cart-1/cart",destination="10.96.0.10:80"'
    to = f'{of},actual_destination="10.244.0.5:8080"}}'
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted([
        f"container_net_tcp_successful_connects_total{to} 3",
        f"container_net_tcp_connection_time_seconds_total{to} 0.0015",
        f"container_net_tcp_bytes_sent_total{to} 100",
        f"container_net_tcp_bytes_received_total{to} 2000",
        f"container_net_tcp_segments_sent_total{to} 9",
        f"container_net_tcp_retransmits_total{to} 3",
        f"container_net_tcp_spurious_retransmits_total{to} 2",
        f"container_net_tcp_active_connections{to} 2",
        f"container_net_tcp_rtt_seconds{to} 0.0003",
        f"container_net_tcp_failed_connects_total{of}}} 4",
    ])


def test_failed_connects_start_at_zero_with_the_first_connection(traffic):
    page = text(traffic, tcp_rows=[tcp(connects=1)])
    assert list(samples(page, "container_net_tcp_failed_connects_total").values()) == [0]


def test_accepted_connections_by_listening_address(traffic):
    page = text(traffic, tcp_rows=[tcp(rows.INBOUND, destination="10.244.0.9", port=8080, accepted=6)])
    assert page.splitlines()[-1] == (
        'container_net_tcp_accepted_connects_total{machine_id="m1",container_id="/k8s/shop/cart-1/cart",'
        'listen_addr="10.244.0.9:8080"} 6'
    )


@pytest.mark.parametrize("value,written", [(0, "0"), (3, "3"), (2.0, "2"), (0.1, "0.1"), (1e-9, "1e-09"), (2**60, str(2**60))])
def test_numbers(value, written):
    assert number(value) == written


@pytest.mark.parametrize("value,written", [("plain", "plain"), ('a"b', r"a\"b"), ("a\\b", r"a\\b"), ("a\nb", r"a\nb")])
def test_escape(value, written):
    assert escape(value) == written


def test_a_page_keeps_a_metrics_samples_together():
    page = Page([("machine_id", "m1")])
    page.add("container_oom_kills_total", 0, [("container_id", "/a")])
    page.add("container_restarts_total", 1, [("container_id", "/a")])
    page.add("container_oom_kills_total", 2, [("container_id", "/b")])
    page.add("container_resources_memory_limit_bytes", None, [("container_id", "/b")])
    assert page.text() == (
        "# HELP container_oom_kills_total Processes killed because memory ran out\n"
        "# TYPE container_oom_kills_total counter\n"
        'container_oom_kills_total{machine_id="m1",container_id="/a"} 0\n'
        'container_oom_kills_total{machine_id="m1",container_id="/b"} 2\n'
        "# HELP container_restarts_total Starts after the first\n"
        "# TYPE container_restarts_total counter\n"
        'container_restarts_total{machine_id="m1",container_id="/a"} 1\n'
    )
