"""Leader election: who may write, and when, as clocks, answers and replicas fail. Time is a number, the store a dictionary."""

import copy

import pytest
from appstatus.cluster.lease import DURATION, PERIOD, RENEW_DEADLINE, Lease
from appstatus.kube import ApiError, Unreachable


class Store:
    """One Lease as the API server keeps it: 409 for an outdated resourceVersion or a second creation."""

    def __init__(self):
        self.object = None
        self.version = 0
        self.reachable = True
        self.lose_answer = False
        self.user = {"username": "system:serviceaccount:appstatus:operator", "uid": "1-2"}  # a number: the review fails so

    def request(self, method, path, *, query=None, body=None, timeout=10.0):
        if not self.reachable:
            raise Unreachable("no route")
        if path == "/apis/authentication.k8s.io/v1/selfsubjectreviews":
            if isinstance(self.user, int):
                raise ApiError(self.user, "", "")
            return {"status": {"userInfo": self.user}}
        answer = self._do(method, copy.deepcopy(body))
        if self.lose_answer:
            self.lose_answer = False
            raise Unreachable("connection reset after the write")
        return answer

    def _do(self, method, body):
        if method == "GET":
            if self.object is None:
                raise ApiError(404, "NotFound", "")
            return copy.deepcopy(self.object)
        if method == "POST" and self.object is not None:
            raise ApiError(409, "AlreadyExists", "")
        if method == "PUT":
            if self.object is None:
                raise ApiError(404, "NotFound", "")
            if body["metadata"].get("resourceVersion") != self.object["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", "")
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.object = body
        return copy.deepcopy(body)


class World:
    """Two replicas, each with a clock of its own."""

    def __init__(self):
        self.store = Store()
        self.now = {"a": 0.0, "b": 1e6}
        self.a, self.b = self.replica("a"), self.replica("b")

    def replica(self, name):
        return Lease(self.store, "appstatus", "lease", name, clock=lambda: self.now[name])

    def run(self, seconds, *replicas):
        """Every replica's clock advances; those named take their steps."""
        for _ in range(round(seconds / PERIOD)):
            for name in self.now:
                self.now[name] += PERIOD
            for replica in replicas:
                replica.step()
            assert not (self.a.holding and self.b.holding), "two replicas may write at once"


@pytest.fixture
def world():
    return World()


def test_the_first_one_leads_and_stays(world):
    world.run(60, world.a, world.b)
    assert world.a.holding and not world.b.holding
    assert world.store.object["spec"]["leaseTransitions"] == 0


def test_a_leader_that_dies_is_followed_after_the_whole_duration(world):
    world.run(10, world.a, world.b)
    world.run(DURATION - PERIOD, world.b)
    assert not world.b.holding
    world.run(2 * PERIOD, world.b)
    assert world.b.holding and world.store.object["spec"]["leaseTransitions"] == 1


def test_clocks_that_disagree_by_days_change_nothing(world):
    world.now["b"] += 5 * 86400
    world.run(60, world.a, world.b)
    assert world.a.holding


def test_a_release_hands_over_at_once(world):
    world.run(10, world.a, world.b)
    world.a.release()
    assert not world.a.holding
    world.b.step()
    assert world.b.holding


def test_a_leader_without_api_server_stops_writing_and_goes_on_when_it_is_back(world):
    world.run(10, world.a, world.b)
    world.store.reachable = False
    world.run(60, world.a, world.b)
    assert not world.a.holding and not world.a.lost
    world.store.reachable = True
    world.a.step()
    assert world.a.holding and not world.a.lost


def test_a_standby_that_asks_first_after_an_outage_of_the_api_server_takes_nothing_from_the_leader(world):
    world.run(10, world.a, world.b)
    world.store.reachable = False
    world.run(60, world.a, world.b)
    world.store.reachable = True
    world.run(PERIOD, world.b)
    assert not world.b.holding
    world.run(DURATION, world.a, world.b)
    assert world.a.holding and not world.a.lost


def test_a_leader_that_died_in_an_outage_of_the_api_server_is_followed_when_the_lease_has_run_out_once_more(world):
    world.run(10, world.a, world.b)
    world.store.reachable = False
    world.run(60, world.b)
    world.store.reachable = True
    world.run(DURATION, world.b)
    assert not world.b.holding
    world.run(2 * PERIOD, world.b)
    assert world.b.holding


def test_a_standby_that_gets_every_other_answer_only_follows_a_dead_leader_all_the_same(world):
    world.run(10, world.a, world.b)
    for _ in range(round(2 * DURATION / PERIOD)):
        world.store.reachable = not world.store.reachable
        world.run(PERIOD, world.b)
    assert world.b.holding


def test_a_leader_that_was_stopped_sees_its_successor_and_is_lost(world):
    world.run(10, world.a, world.b)
    world.run(60, world.b)
    assert world.b.holding and not world.a.holding
    world.a.step()
    assert world.a.lost and not world.a.holding


def test_a_renewal_whose_answer_is_lost_is_recognised_as_its_own(world):
    world.run(10, world.a, world.b)
    world.store.lose_answer = True
    world.run(4 * PERIOD, world.a, world.b)
    assert world.a.holding and not world.a.lost and world.store.object["spec"]["leaseTransitions"] == 0


def test_an_acquisition_whose_answer_is_lost_is_recognised_or_awaited(world):
    world.store.lose_answer = True
    world.run(DURATION + 4 * PERIOD, world.a, world.b)
    assert world.a.holding or world.b.holding


def test_holding_ends_a_while_before_anybody_can_take_over(world):
    world.a.step()
    world.now["a"] += RENEW_DEADLINE - 0.1
    assert world.a.holding
    world.now["a"] += 0.2
    assert not world.a.holding
    assert RENEW_DEADLINE + PERIOD < DURATION


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a"), ("b",)], ids="-".join)
def test_a_deleted_lease_is_made_anew_by_one_of_them(world, order):
    """Never while its holder may still write: World.run sees to that."""
    world.run(10, world.a, world.b)
    world.store.object = None
    world.run(60, *(getattr(world, name) for name in order))
    assert world.a.holding if "a" in order else world.b.holding


def test_two_that_start_at_once_give_one_leader(world):
    # Both have seen nothing; the second creation is refused.
    world.a.step(), world.b.step()
    assert world.a.holding and not world.b.holding


def test_the_lease_goes_with_the_service_account_and_keeps_its_owner_at_every_write(world):
    owner = [{"apiVersion": "v1", "kind": "ServiceAccount", "name": "operator", "uid": "1-2"}]
    for seconds in (PERIOD, 10):
        world.run(seconds, world.a, world.b)
        assert world.store.object["metadata"]["ownerReferences"] == owner
    world.a.release()
    assert world.store.object["metadata"]["ownerReferences"] == owner


@pytest.mark.parametrize(
    "user",
    [403, 503, None, {"username": "admin"}, {"username": "system:serviceaccount:other:operator", "uid": "1-2"}],
    ids=["refused", "no answer", "nothing said", "a person", "of another namespace"],
)
def test_who_cannot_own_the_lease_leads_all_the_same(world, user):
    world.store.user = user
    world.run(10, world.a, world.b)
    assert world.a.holding and "ownerReferences" not in world.store.object["metadata"]


def test_an_owner_that_is_there_stays_and_one_that_is_missing_is_added(world):
    world.store.user = 503
    world.run(10, world.a, world.b)
    world.store.user = {"username": "system:serviceaccount:appstatus:operator", "uid": "1-2"}
    world.run(10, world.a, world.b)
    (owner,) = world.store.object["metadata"]["ownerReferences"]
    world.store.user = 503  # a replica that starts while the API server has troubles
    world.a = world.replica("a")
    world.run(2 * DURATION, world.a)
    assert world.a.holding and world.store.object["metadata"]["ownerReferences"] == [owner]
