"""Two replicas of the operator as processes, with the chart's rights, on a real API server and a real Prometheus: one incident,
during which the leader is killed, the API server and Prometheus go away; each Event comes exactly once.

The tests are the chapters of one story: each begins where the one before it ended, and none can run alone. Two waits are given by
the product (2 min until an application is judged, 5 good minutes until an incident closes); the chapters lie inside them.
"""

import signal
import subprocess
import time
from collections import Counter

import objects
import pytest
from appstatus.kube import own_path, path
from cluster import binaries
from cuttable import Cuttable, address, kubeconfig_through
from promprocess import PrometheusProcess
from replica import ROOT, Replica, until
from synthetic import serve

pytestmark = pytest.mark.timeout(1500)

STEP = 5.0
ACCOUNT = "system:serviceaccount:appstatus:appstatus-operator"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:appstatus", "system:authenticated")


class World:
    """Everything around the replicas."""

    def __init__(self, kube, api, folder):
        self.kube = kube
        self.shop = objects.shop()
        self.to_checkout = self.shop.flows[1]
        self.exposition = serve(lambda: self.shop.text().encode())
        objects.cluster(kube)
        _rights(api)
        self.proxy = Cuttable(address(api.url))
        kubeconfig = kubeconfig_through(self.proxy, api.kubeconfig_for(ACCOUNT, GROUPS), folder / "kubeconfig")
        self.replicas = [Replica(name, folder, kubeconfig) for name in ("one", "two")]
        targets = {"agent": f"127.0.0.1:{self.exposition.server_address[1]}"}
        targets |= {replica.name: f"127.0.0.1:{replica.port}" for replica in self.replicas}
        self.prometheus = PrometheusProcess(folder / "prometheus", targets, STEP)
        self.prometheus.start()
        objects.project(kube, self.prometheus.url, f"{STEP:g}s", promql={"namespaces": [objects.NAMESPACE]})

    def end(self):
        for replica in self.replicas:
            if replica.alive:
                replica.kill()
        self.prometheus.stop()
        self.exposition.shutdown()

    def events(self):
        """(workload, type, reason) -> how often. The project's own Events only."""
        found = self.kube.list(path("v1", "events", objects.NAMESPACE))
        return Counter(
            (e["involvedObject"]["name"], e["type"], e["reason"]) for e in found if e["source"]["component"] == "appstatus"
        )

    def reasons(self):
        return Counter(reason for _, _, reason in self.events().elements())

    def status(self, app):
        return self.kube.request("GET", own_path("appstatuses", objects.NAMESPACE, f"{app}.deployment")).get("status", {})

    def health(self):
        found = self.kube.list(own_path("appstatuses", objects.NAMESPACE))
        return {raw["metadata"]["name"].partition(".")[0]: (raw.get("status") or {}).get("health") for raw in found}

    def condition(self, plural, name, kind, namespace=""):
        raw = self.kube.request("GET", own_path(plural, namespace, name))
        return next((c for c in (raw.get("status") or {}).get("conditions", ()) if c["type"] == kind), {})

    def leader(self):
        return next((replica for replica in self.replicas if replica.alive and replica.leads), None)


def _rights(api):
    """The roles as the chart has them, and nothing else."""
    chart = ROOT / "charts" / "appstatus"
    helm = str(binaries.ensure("helm")["helm"])
    done = subprocess.run(
        [helm, "template", "appstatus", str(chart), "-n", "appstatus", "-s", "templates/rbac.yaml"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    api.kubectl("apply", "-f", "-", stdin=done.stdout)


@pytest.fixture(scope="module")
def world(kube, own_api, tmp_path_factory):
    found = World(kube, own_api, tmp_path_factory.mktemp("operator"))
    yield found
    found.end()


# The tests of this module are the chapters of one story, in this order.


def test_both_replicas_become_ready_and_one_leads(world):
    for replica in world.replicas:
        replica.start()
    for replica in world.replicas:
        until(lambda replica=replica: replica.get("/readyz")[0] == 200, 60, f"{replica.name} is ready")
        assert replica.get("/healthz") == (200, "ok\n")
    until(lambda: sum(replica.leads for replica in world.replicas) == 1, 40, "one leads")


def test_every_application_is_healthy_and_nothing_is_posted(world):
    until(lambda: world.health() == dict.fromkeys(objects.APPS, "Healthy"), 90, "all are Healthy")
    assert world.condition("projects", "default", "PrometheusReachable")["status"] == "True"
    assert not world.events()
    world.kube.request("GET", path("apps/v1", "daemonsets", "appstatus", "appstatus-agent"))


def test_wrong_resources_are_answered_and_stop_nobody(world):
    slo = {"apiVersion": "appstatus.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "broken", "namespace": objects.NAMESPACE}}
    target = {"targetRef": {"kind": "Deployment", "name": "catalog"}, "objective": "99"}
    for name, promql in (
        ("rejected", {"bad": "sum(rate(up[1m])", "total": "sum(rate(up[1m]))"}),
        ("many", {"bad": "sum(up * 0)", "total": "up"}),
        ("fine", {"bad": "sum(up * 0)", "total": "sum(up)"}),
    ):
        body = {**slo, "metadata": {**slo["metadata"], "name": name}, "spec": {**target, "indicator": {"promql": promql}}}
        objects.create(world.kube, own_path("slos", objects.NAMESPACE), body)

    def answered(name, kind):
        found = world.condition("slos", name, kind, objects.NAMESPACE)
        return found.get("status"), found.get("reason")

    until(
        lambda: answered("rejected", "Accepted") == ("False", "InvalidQuery"), 60, "the query that Prometheus rejects is answered"
    )
    assert "parse error" in world.condition("slos", "rejected", "Accepted", objects.NAMESPACE)["message"]
    until(lambda: answered("many", "Accepted") == ("False", "NotOneSeries"), 30, "the query with many series is answered")
    until(lambda: answered("fine", "DataAvailable") == ("True", "Fresh"), 240, "the right query is evaluated")
    assert answered("fine", "Accepted") == ("True", "Valid")
    until(lambda: set(world.health().values()) == {"Healthy"}, 30, "wrong SLOs say nothing of the application")


def test_every_slo_is_judged_and_met(world):
    # An application is judged from two minutes after its first instance became available.
    for app in ("frontend", "checkout"):
        until(lambda app=app: world.status(app).get("sloSummary") == "2/2", 240, f"every SLO of {app} is judged and met")
    assert not world.events()


def test_a_total_outage_gives_one_warning_although_the_leader_is_killed_while_it_opens(world):
    begin = time.monotonic()
    objects.refuse_events(world.kube)
    world.to_checkout.bad = 1.0
    # The state is stored before the Event is posted, and no Event can be: the leader dies between the two.
    until(lambda: world.status("checkout").get("incident", {}).get("due") == ["SLOFastBurn"], 150, "the incident is stored")
    victim = world.leader()
    assert victim is not None and not world.events()
    victim.kill()
    objects.accept_events(world.kube)
    world.to_checkout.bad = 0.0
    assert world.status("checkout")["incident"]["due"] == ["SLOFastBurn"]
    until(lambda: world.reasons()["SLOFastBurn"], 60, "the Event is there")
    print(f"\nEvent {time.monotonic() - begin:.0f} s after the first failed request, the leader's death included")
    until(lambda: (found := world.leader()) is not None and found is not victim, 60, "the other replica leads")
    victim.start()
    until(lambda: world.status("checkout")["incident"].get("posted") == ["SLOFastBurn"], 30, "the Event is marked as posted")
    assert world.reasons() == {"SLOFastBurn": 1}, world.events()
    assert world.events()["checkout", "Warning", "SLOFastBurn"] == 1, "it is about the workload itself"
    assert world.status("checkout")["incident"]["diagnosis"]["causes"][0]["application"]["name"] == "checkout"


def test_prometheus_that_goes_away_makes_all_unknown_and_closes_nothing(world):
    world.prometheus.stop()
    until(lambda: set(world.health().values()) <= {"Unknown", "Violated"}, 120, "nobody is called healthy")
    until(lambda: world.condition("projects", "default", "PrometheusReachable")["status"] == "False", 30, "the Project says so")
    assert world.condition("projects", "default", "Ready")["status"] == "True", "an outage is not the spec's fault"
    assert world.reasons() == {"SLOFastBurn": 1} and "incident" in world.status("checkout")
    world.prometheus.start()
    until(lambda: world.condition("projects", "default", "PrometheusReachable")["status"] == "True", 60, "it recovers by itself")
    until(lambda: world.health()["catalog"] == "Healthy", 90, "what is fine is Healthy again")


def test_an_api_server_that_is_gone_for_a_minute_ends_nobody_and_doubles_nothing(world):
    world.proxy.cut()
    time.sleep(60)
    assert all(replica.alive for replica in world.replicas)
    world.proxy.mend()
    until(lambda: world.leader() is not None, 60, "somebody leads again")
    assert all(replica.alive for replica in world.replicas)
    assert world.reasons() == {"SLOFastBurn": 1}


def test_a_deleted_appstatus_comes_back_and_one_without_workload_goes(world):
    world.kube.request("DELETE", own_path("appstatuses", objects.NAMESPACE, "catalog.deployment"))
    until(lambda: world.health().get("catalog") == "Healthy", 30, "it is written again")
    for plural, version, name in (
        ("pods", "v1", "catalog-6c8d9f7b5-bcdfg"),
        ("replicasets", "apps/v1", "catalog-6c8d9f7b5"),
        ("deployments", "apps/v1", "catalog"),
    ):
        query = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        world.kube.request("DELETE", path(version, plural, objects.NAMESPACE, name), query=query)
    until(lambda: "catalog" not in world.health(), 60, "the AppStatus of a deleted workload goes")
    assert world.reasons() == {"SLOFastBurn": 1}


def test_a_leader_that_was_frozen_ends_when_it_sees_its_successor(world):
    frozen = world.leader()
    assert frozen is not None and frozen.process is not None
    frozen.process.send_signal(signal.SIGSTOP)
    other = next(replica for replica in world.replicas if replica is not frozen)
    until(lambda: other.leads, 40, "the other replica leads")
    frozen.process.send_signal(signal.SIGCONT)
    until(lambda: not frozen.alive, 20, "the former leader ends")
    assert frozen.process.returncode == 3
    frozen.start()
    until(lambda: frozen.get("/readyz")[0] == 200, 60, "it is back as a standby")
    assert not frozen.leads and world.reasons()["SLOFastBurn"] == 1


def test_the_recovery_is_told_once(world):
    until(lambda: world.reasons()["SLORecovered"], 420, "the recovery")
    until(lambda: "incident" not in world.status("checkout"), 30, "the incident is history")
    assert len(world.status("checkout")["history"]) == 1
    assert all(replica.get("/healthz")[0] == 200 for replica in world.replicas)


def test_a_graceful_stop_hands_over_at_once_and_the_story_was_told_once(world):
    leader = world.leader()
    assert leader is not None
    assert leader.stop() == 0
    took = until(lambda: world.leader() is not None, 15, "the other one leads")
    assert took < 12, "a released lease is not waited for"
    time.sleep(3 * STEP)
    assert world.reasons() == {"SLOFastBurn": 1, "SLORecovered": 1}, world.events()
    assert world.events()["checkout", "Normal", "SLORecovered"] == 1
