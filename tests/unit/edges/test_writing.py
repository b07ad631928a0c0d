"""Status writes: only what changed, at a pace, repeated while it makes sense, and sure of what happened."""

import pytest
from appstatus.cluster.status import Document, Key, StatusWriter
from appstatus.cluster.writing import NotLeading, OutOfTime, Writer
from appstatus.kube import ApiError, Unreachable

SLO = Key("slos", "shop", "checkout")
APP = Key("appstatuses", "shop", "checkout.deployment")


class Api:
    """Objects with versions, as server-side apply sees them; ``trouble`` befalls the next requests, before or after the effect."""

    def __init__(self):
        self.objects = {"/apis/appstatus.dev/v1alpha1/namespaces/shop/slos/checkout": {"metadata": {"resourceVersion": "1"}}}
        self.version = 1
        self.requests = []
        self.trouble = []

    def request(self, method, path, *, query=None, body=None, content_type="", timeout=10.0, accept=""):
        self.requests.append((method, path))
        when, error = self.trouble.pop(0) if self.trouble else ("", None)
        if when == "before":
            raise error
        answer = self._do(method, path, body)
        if when == "after":
            raise error
        return answer

    def _do(self, method, path, body):
        name, _, _ = path.partition("/status")
        found = self.objects.get(name)
        if method == "GET":
            return found
        if method == "DELETE":
            if found is None:
                raise ApiError(404, "NotFound", "")
            del self.objects[name]
            return {}
        if found is None and path.endswith("/status"):
            raise ApiError(404, "NotFound", "")
        wanted = body["metadata"].get("resourceVersion")
        if found is not None and wanted not in (None, found["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", "the object has been modified")
        self.version += 1
        found = self.objects.setdefault(name, {"metadata": {}})
        found["metadata"] = {**found["metadata"], "resourceVersion": str(self.version)}
        if path.endswith("/status"):
            found["status"] = body["status"]
        return found


@pytest.fixture
def api():
    return Api()


@pytest.fixture
def clock():
    return Clock()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def writer(api, clock):
    return Writer(api, allowed=lambda: True, clock=clock, sleep=clock.sleep)


@pytest.fixture
def statuses(writer):
    return StatusWriter(writer)


def slo(**status):
    return Document(SLO, status)


def app(**status):
    return Document(APP, status, metadata={"labels": {}})


def test_what_is_stored_is_not_written_again(statuses, api):
    statuses.submit([slo(state="Met")])
    assert statuses.flush(100) == 1
    statuses.submit([slo(state="Met")])
    assert statuses.flush(200) == 0 and len(api.requests) == 1


def test_a_change_is_written(statuses, api):
    for state in ("Met", "FastBurn"):
        statuses.submit([slo(state=state)])
        statuses.flush(100)
    assert len(api.requests) == 2


def test_a_recreated_object_gets_its_status_again(statuses, api):
    statuses.submit([Document(SLO, {"state": "Met"}, uid="one")])
    statuses.flush(100)
    statuses.submit([Document(SLO, {"state": "Met"}, uid="two")])
    assert statuses.flush(100) == 1


def test_an_appstatus_is_created_before_its_status(statuses, api):
    statuses.submit([app(health="Healthy")])
    statuses.flush(100)
    assert [path.endswith("/status") for _, path in api.requests] == [False, True]


def test_at_most_twenty_writes_a_second(statuses, api, clock):
    documents = [Document(Key("slos", "shop", f"slo-{i}"), {"n": i}) for i in range(100)]
    for document in documents:
        api.objects[f"/apis/appstatus.dev/v1alpha1/namespaces/shop/slos/{document.key.name}"] = {
            "metadata": {"resourceVersion": "1"}
        }
    statuses.submit(documents)
    assert statuses.flush(2.0) in (40, 41)
    assert len(statuses) in (59, 60)


def test_the_most_urgent_goes_first(statuses, api):
    statuses.submit([slo(state="Met"), Document(APP, {"health": "Violated"}, metadata={}, urgent=2)])
    statuses.flush(100)
    assert "appstatuses" in api.requests[0][1]


@pytest.mark.parametrize("error", [ApiError(429, "TooManyRequests", ""), ApiError(503, "Unavailable", ""), Unreachable("reset")])
def test_a_passing_trouble_is_outlasted(statuses, api, error):
    api.trouble = [("before", error), ("before", error)]
    statuses.submit([slo(state="Met")])
    assert statuses.flush(30) == 1


def test_a_lasting_trouble_ends_with_the_deadline_and_nothing_is_lost(statuses, api, clock):
    api.trouble = [("before", Unreachable("reset"))] * 100
    statuses.submit([slo(state="Met")])
    assert statuses.flush(10) == 0 and clock.now <= 12 and len(statuses) == 1
    api.trouble = []
    assert statuses.flush(clock.now + 10) == 1


def test_a_refused_document_is_not_sent_again_until_it_changes(statuses, api):
    api.trouble = [("before", ApiError(422, "Invalid", "status.state: Unsupported value"))]
    statuses.submit([slo(state="Odd")])
    statuses.flush(100)
    statuses.submit([slo(state="Odd")])
    assert statuses.flush(200) == 0
    statuses.submit([slo(state="Met")])
    assert statuses.flush(300) == 1


def test_an_incident_is_stored_although_the_first_answer_was_lost(statuses, api):
    statuses.write_now(app(health="Healthy"), 100)
    api.trouble = [("after", Unreachable("reset"))]
    statuses.write_now(app(health="Violated"), 100)
    assert api.objects["/apis/appstatus.dev/v1alpha1/namespaces/shop/appstatuses/checkout.deployment"]["status"] == {
        "health": "Violated"
    }
    statuses.submit([app(health="Violated")])


def test_an_incident_write_is_based_on_the_version_last_seen(statuses, api):
    statuses.write_now(app(health="Healthy"), 100)
    where = "/apis/appstatus.dev/v1alpha1/namespaces/shop/appstatuses/checkout.deployment"
    api.version += 1
    api.objects[where] = {"metadata": {"resourceVersion": str(api.version)}, "status": {"health": "by somebody else"}}
    before = len(api.requests)
    statuses.write_now(app(health="Violated"), 100)
    assert [method for method, _ in api.requests[before:]] == ["PATCH", "GET", "PATCH"]
    assert api.objects[where]["status"] == {"health": "Violated"}


def test_a_status_that_somebody_changed_waits_for_the_next_cycle_without_a_storm(statuses, api):
    statuses.submit([slo(state="Met")])
    statuses.flush(100)
    where = "/apis/appstatus.dev/v1alpha1/namespaces/shop/slos/checkout"
    api.version += 1
    api.objects[where] = {"metadata": {"resourceVersion": str(api.version)}, "status": {"state": "by a successor"}}
    before = len(api.requests)
    statuses.submit([slo(state="FastBurn")])
    assert statuses.flush(200) == 0 and api.objects[where]["status"] == {"state": "by a successor"}
    assert [method for method, _ in api.requests[before:]] == ["PATCH", "GET"] and len(statuses) == 1
    statuses.submit([slo(state="FastBurn")])
    assert statuses.flush(300) == 1 and api.objects[where]["status"] == {"state": "FastBurn"}


def test_a_conflict_that_cannot_be_read_again_keeps_the_others_going(statuses, api):
    statuses.submit([slo(state="Met")])
    statuses.flush(100)
    api.trouble = [("before", ApiError(409, "Conflict", "")), ("before", Unreachable("reset"))]
    statuses.submit([Document(SLO, {"state": "FastBurn"}, urgent=1), app(health="Healthy")])
    assert statuses.flush(200) == 1 and len(statuses) == 1


def test_a_deleted_appstatus_is_made_anew(statuses, api):
    statuses.write_now(app(health="Healthy"), 100)
    api.objects.clear()
    statuses.write_now(app(health="Violated"), 100)
    assert api.objects["/apis/appstatus.dev/v1alpha1/namespaces/shop/appstatuses/checkout.deployment"]["status"] == {
        "health": "Violated"
    }


def test_what_somebody_deleted_or_changed_is_written_again(statuses, api):
    statuses.submit([app(health="Healthy")])
    statuses.flush(100)
    statuses.seen(APP, str(api.version))
    statuses.submit([app(health="Healthy")])
    assert statuses.flush(200) == 0
    api.version += 5
    where = "/apis/appstatus.dev/v1alpha1/namespaces/shop/appstatuses/checkout.deployment"
    api.objects[where] = {"metadata": {"resourceVersion": str(api.version)}, "status": {"health": "by somebody else"}}
    statuses.seen(APP, str(api.version))
    statuses.submit([app(health="Healthy")])
    assert statuses.flush(300) == 1
    statuses.seen(APP, None)
    statuses.submit([app(health="Healthy")])
    assert statuses.flush(400) == 1


def test_who_does_not_lead_writes_nothing(api, clock):
    statuses = StatusWriter(Writer(api, allowed=lambda: False, clock=clock, sleep=clock.sleep))
    statuses.submit([slo(state="Met")])
    assert statuses.flush(100) == 0 and not api.requests
    with pytest.raises(NotLeading):
        statuses.write_now(app(health="Violated"), 100)


def test_who_stops_leading_in_the_middle_stops_at_the_next_request(api, clock):
    allowed = [True, False]
    statuses = StatusWriter(Writer(api, allowed=lambda: allowed.pop(0), clock=clock, sleep=clock.sleep))
    with pytest.raises(NotLeading):
        statuses.write_now(app(health="Violated"), 100)
    assert len(api.requests) == 1


def test_an_incident_write_says_when_time_is_up(statuses, api):
    api.trouble = [("before", Unreachable("reset"))] * 100
    with pytest.raises(OutOfTime):
        statuses.write_now(app(health="Violated"), 5)


def test_deleting_what_is_gone_is_fine(statuses):
    assert statuses.delete(APP, 100)
