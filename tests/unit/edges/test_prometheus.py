"""Reading a Prometheus-compatible server: answers, refusals, silence, halves. The server is real HTTP, its answers scripted."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import numpy as np
import pytest
from appstatus.model.facts import Facts
from appstatus.model.queries import BY_ID, IDENTITY, Query
from appstatus.model.who import Who
from appstatus.sources.prometheus import OVERLAP, Prometheus
from appstatus.sources.promhttp import Connection, Endpoint, QueryFailed
from clusters import deployment, facts, k8s, pod

WHO_CALLS = tuple(BY_ID[query] for query in ("agent_sample_time", *IDENTITY, "tcp_failed_connects"))
TABLE = (Query("up", "up", ("pod",), "x"), Query("agent_sample_time", "stamp", ("machine_id",), "x"))
STEP = 10.0


def nobody(known):
    return Who(Facts(), known)


class Script:
    """Answers each query with what ``answer(form)`` returns: (status, body)."""

    def __init__(self):
        self.asked = []
        self.headers = {}
        self.answer = lambda form: (200, matrix(form))
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
                script.asked.append(form)
                script.headers = dict(self.headers)
                status, body = script.answer(form)
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that gave up is part of the script
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def matrix(form, series=({"pod": "a", "machine_id": "m"},), value=lambda t: t, **more):
    start, end, step = (float(form[k]) for k in ("start", "end", "step"))
    times = np.arange(start, end + step / 2, step)
    result = [{"metric": labels, "values": [[t, str(value(t))] for t in times]} for labels in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


@pytest.fixture
def script():
    found = Script()
    yield found
    found.close()


@pytest.fixture
def prometheus(script):
    found = Prometheus(Endpoint(script.url), STEP, table=TABLE, window=600, deadline=5.0)
    yield found
    found.close()


def test_the_first_update_fills_the_window(script, prometheus):
    metrics = prometheus.update(10_000.0, nobody)
    assert prometheus.filled and not metrics.failed
    assert metrics.times[0] == 10_000 - 590 and metrics.times[-1] == 10_000
    np.testing.assert_array_equal(metrics.get("up").values[0], metrics.times)
    assert metrics.newest == 10_000


def test_later_updates_ask_only_for_what_is_new_and_the_overlap(script, prometheus):
    prometheus.update(10_000.0, nobody)
    script.asked.clear()
    metrics = prometheus.update(10_010.0, nobody)
    assert {float(form["start"]) for form in script.asked} == {10_010 - OVERLAP * STEP}
    assert len(script.asked) == len(TABLE)
    np.testing.assert_array_equal(metrics.get("up").values[0], metrics.times)


def test_after_an_outage_the_gap_is_asked_for_again(script, prometheus):
    prometheus.update(10_000.0, nobody)
    script.answer = lambda form: (503, {"status": "error", "errorType": "unavailable", "error": "starting"})
    for now in range(10_010, 10_300, 10):
        assert set(prometheus.update(float(now), nobody).failed) == {"up", "agent_sample_time"}
    script.answer = lambda form: (200, matrix(form))
    metrics = prometheus.update(10_300.0, nobody)
    np.testing.assert_array_equal(metrics.get("up").values[0], metrics.times)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, {"status": "error", "errorType": "bad_data", "error": "parse error"}), "parse error"),
        ((200, b"<html>not json"), "not JSON"),
        ((502, b""), "not JSON"),
        ((200, {"status": "success", "data": {"resultType": "vector", "result": []}}), "vector"),
    ],
)
def test_a_failed_query_is_named_with_its_reason_and_the_others_go_on(script, prometheus, answer, reason):
    script.answer = lambda form: answer if form["query"] == "up" else (200, matrix(form))
    metrics = prometheus.update(10_000.0, nobody)
    assert list(metrics.failed) == ["up"] and reason in metrics.failed["up"]
    assert metrics.get("up").values.shape == (0, len(metrics.times))
    assert metrics.newest is not None


@pytest.mark.parametrize("more", [{"warnings": ["store 2 of 3 did not answer"]}, {"isPartial": True}])
def test_a_partial_answer_counts_as_none(script, prometheus, more):
    script.answer = lambda form: (200, matrix(form, **more))
    metrics = prometheus.update(10_000.0, nobody)
    assert set(metrics.failed) == {"up", "agent_sample_time"} and "partial" in metrics.failed["up"]


def test_hints_about_promql_are_no_partial_answer(script, prometheus):
    script.answer = lambda form: (200, matrix(form, warnings=["PromQL info: metric might not be a counter"], infos=["x"]))
    assert not prometheus.update(10_000.0, nobody).failed


def test_nobody_listens(script):
    script.close()
    prometheus = Prometheus(Endpoint(script.url), STEP, table=TABLE, window=600, deadline=5.0)
    metrics = prometheus.update(10_000.0, nobody)
    assert set(metrics.failed) == {"up", "agent_sample_time"} and "refused" in metrics.failed["up"]
    prometheus.close()


def test_a_server_that_never_answers_costs_no_more_than_the_deadline(script):
    release = threading.Event()
    script.answer = lambda form: (release.wait(20), (200, matrix(form)))[1]
    prometheus = Prometheus(Endpoint(script.url), STEP, table=TABLE, window=600, deadline=0.5)
    begin = time.monotonic()
    metrics = prometheus.update(10_000.0, nobody)
    assert time.monotonic() - begin < 5
    assert set(metrics.failed) == {"up", "agent_sample_time"}
    release.set()
    prometheus.close()


IDENTIFIED = (Query("listen", "listen", ("machine_id", "container_id", "listen_addr"), "x"), *TABLE)


def test_nothing_is_read_before_it_is_known_who_is_who(script):
    prometheus = Prometheus(Endpoint(script.url), STEP, table=IDENTIFIED, window=600, deadline=5.0)
    script.answer = lambda form: (503, {}) if form["query"] == "listen" else (200, matrix(form))
    failed = prometheus.update(10_000.0, nobody).failed
    assert set(failed) == {"listen", "up"} and "query listen failed" in failed["up"]
    script.answer = lambda form: (200, matrix(form))
    assert not prometheus.update(10_010.0, nobody).failed
    script.answer = lambda form: (503, {}) if form["query"] == "listen" else (200, matrix(form))
    metrics = prometheus.update(10_020.0, nobody)
    assert list(metrics.failed) == ["listen"], "what it said before will do"
    np.testing.assert_array_equal(metrics.get("up").values[0], metrics.times)
    prometheus.close()


class Calls:
    """frontend's failed connects to 10.1.0.5:8080, 4 a second up to ``until``; ``holder``: the pod that has the address."""

    def __init__(self, script, until):
        self.prometheus = Prometheus(Endpoint(script.url), STEP, table=WHO_CALLS, window=600, deadline=5.0)
        self.down = False
        client = k8s("frontend-6c8d9f7b5-bbbbb") | {"destination": "10.1.0.5:8080"}

        def answer(form):
            if self.down:
                return 503, {"status": "error", "error": "starting"}
            if "failed_connects" in form["query"]:
                return 200, matrix(form, [client], lambda t: 4.0 if t <= until else 0.0)
            return 200, matrix(form, [])

        script.answer = answer

    def read(self, now, *holder):
        """Connects by upstream in the steps that end at ``now - 3 * STEP`` to ``now``."""
        known = facts([deployment("cart"), deployment("billing")], holder)
        metrics = self.prometheus.update(now, lambda answers: Who(known, answers))
        series = metrics.get("tcp_failed_connects")
        return {str(key[1]): row[-4:].tolist() for key, row in zip(series.keys, series.values, strict=True)}


CART = pod("cart-6c8d9f7b5-bcdfg", deployment("cart"), "10.1.0.5")
BILLING = pod("billing-6c8d9f7b5-bcdfg", deployment("billing"), "10.1.0.5")


@pytest.fixture
def calls(script):
    found = Calls(script, until=10_000.0)
    yield found
    found.prometheus.close()


@pytest.mark.parametrize("between", ["nothing", "nobody has the address", "the store is down"])
def test_what_was_read_stays_with_whom_it_was_about_when_the_address_gets_a_new_holder(calls, between):
    assert calls.read(10_000.0, CART)["shop/cart.deployment"] == [4, 4, 4, 4]
    if between == "the store is down":
        calls.down = True
        calls.read(10_005.0, BILLING)
        calls.down = False
    if between == "nobody has the address":
        assert calls.read(10_000.0)["shop/cart.deployment"] == [4, 4, 4, 4]
    unknown = [pytest.approx(np.nan, nan_ok=True)]
    for steps in (1, 2, 3):
        found = calls.read(10_000.0 + steps * STEP, BILLING)
        assert found["shop/cart.deployment"] == [4] * (4 - steps) + unknown * steps
        assert found["shop/billing.deployment"] == unknown * (4 - steps) + [0] * steps


def test_an_address_that_nobody_knew_yet_is_found_in_what_is_read_again(calls):
    assert calls.read(10_000.0)["10.1.0.5:8080"] == [4, 4, 4, 4]
    assert calls.read(10_010.0, CART)["shop/cart.deployment"][1:] == [4, 4, 0]


def test_a_series_says_from_when_on_it_has_been_asked_for(script, monkeypatch):
    monkeypatch.setattr("appstatus.sources.prometheus.POINTS", 10)
    prometheus = Prometheus(Endpoint(script.url), STEP, table=TABLE, window=600, deadline=5.0)
    script.answer = lambda form: (503, {}) if float(form["start"]) < 9_900 else (200, matrix(form))
    series = prometheus.update(10_000.0, nobody).get("up")
    assert np.isnan(series.values[0, : series.since]).all() and np.isfinite(series.values[0, series.since :]).all()
    assert 0 < series.since < 60
    prometheus.close()


@pytest.mark.parametrize("warned", [False, True])
def test_a_long_answer_is_read_in_parts_and_judged_as_a_whole(script, monkeypatch, warned):
    monkeypatch.setattr("appstatus.sources.promhttp.PART_BYTES", 300)
    names = [{"pod": f'}},{{"metric":{{{i}'} for i in range(40)]
    more = {"warnings": ["half of it"]} if warned else {}
    script.answer = lambda form: (200, json.dumps(matrix(form, names, **more), separators=(",", ":")).encode())
    connection = Connection(Endpoint(script.url))
    if warned:
        with pytest.raises(QueryFailed, match="half of it"):
            connection.query_range("up", 0, 10, 10, 5.0)
        return
    parts = list(connection.query_range("up", 0, 10, 10, 5.0))
    assert len(parts) > 5
    assert [series["metric"] for part in parts for series in part] == names


def test_credentials_and_headers_are_sent(script):
    connection = Connection(Endpoint(script.url, bearer="s3cret", headers=(("X-Scope-OrgID", "team"),)))
    connection.query_range("up", 0, 10, 10, 5.0)
    assert script.headers["Authorization"] == "Bearer s3cret" and script.headers["X-Scope-OrgID"] == "team"


def test_secrets_are_not_shown():
    assert "s3cret" not in repr(Endpoint("http://x", username="u", password="s3cret", bearer="s3cret"))


def test_a_rejected_query_is_told_from_a_broken_server(script):
    connection = Connection(Endpoint(script.url))
    script.answer = lambda form: (400, {"status": "error", "errorType": "bad_data", "error": "unknown function"})
    with pytest.raises(QueryFailed) as rejected:
        connection.query_range("nope(up)", 0, 10, 10, 5.0)
    assert rejected.value.kind == "rejected"
    script.answer = lambda form: (503, {"status": "error", "errorType": "unavailable", "error": "later"})
    with pytest.raises(QueryFailed) as broken:
        connection.query_range("up", 0, 10, 10, 5.0)
    assert broken.value.kind == "error"


def test_the_window_goes_into_the_query_as_a_duration_and_as_a_number(script):
    table = (Query("errors", "delta(x[$RANGE]) / $SECONDS", ("pod",), "x"),)
    prometheus = Prometheus(Endpoint(script.url), STEP, table=table, window=600, deadline=5.0)
    prometheus.update(6000.0, nobody)
    prometheus.close()
    assert {form["query"] for form in script.asked} == {"delta(x[20s]) / 20"}


def test_other_credentials_are_used_from_the_next_query_on(script, prometheus):
    prometheus.update(6000.0, nobody)
    prometheus.connection.use(Endpoint(script.url, bearer="new"))
    found = prometheus.update(6000.0 + STEP, nobody)
    assert script.headers["Authorization"] == "Bearer new" and not found.failed
    assert np.isfinite(found.series["up"].values[0, 0]), "what was read before stays"
