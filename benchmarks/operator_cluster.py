"""A cluster for benchmarks/operator.py: what node agents would expose of it, now and in the past, and its objects on an API server.

Every application is a Deployment behind a Service, called from outside and by others; each pod calls three applications, and up to
three pods of each. The series are those of appstatus-agent, with all statuses and buckets of every edge.
"""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import objects
from appstatus.kube import Kube, path
from appstatus.model.world import BUCKETS
from synthetic import serve

SERVICES = "10.96.0.0/16"
CALLS, SPREAD = 3, 3
RATE = 2.0  # requests/s of one edge
IDLE = 600.0  # the agent keeps an edge for so long after its last use
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "reset", "closed", "overdue", "unknown")
SAFE = "bcdfghjklmnpqrstvwxz2456789"
HASH = "6c8d9f7b5"
TCP = (
    ("successful_connects_total", 1.0, 0.0),
    ("connection_time_seconds_total", 0.001, 0.0),
    ("retransmits_total", 0.0, 0.0),
    ("bytes_sent_total", 0.0, 2e3),
    ("bytes_received_total", 0.0, 2e4),
    ("active_connections", 2.0, 0.0),
    ("rtt_seconds", 5e-4, 0.0),
)
LE = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]


class Lines:
    """Series that live together: value = base + rate * seconds since ``born``; standing still from ``stop``, gone at ``gone``."""

    def __init__(self, series: list[tuple[str, float, float]], born: float) -> None:
        self.heads = [head for head, _, _ in series]
        self.base, self.rates = np.array([[base, rate] for _, base, rate in series]).T
        self.born, self.stop, self.gone = born, float("inf"), float("inf")

    def values(self, at: float) -> list[float]:
        return (self.base + self.rates * (min(at, self.stop) - self.born)).round(3).tolist()


def requests(name: str, labels: str, rate: float) -> list[tuple[str, float, float]]:
    fast = [0.0 if bound < 0.01 else rate * min(1.0, bound / 0.5) for bound in BUCKETS] + [rate]
    return [
        *((f'{name}_total{{{labels},status="{status}"}}', 0.0, rate if status == "2xx" else 0.0) for status in STATUSES),
        *((f'{name}_duration_seconds_total_bucket{{{labels},le="{le}"}}', 0.0, each) for le, each in zip(LE, fast, strict=True)),
        (f"{name}_duration_seconds_total_count{{{labels}}}", 0.0, rate),
        (f"{name}_duration_seconds_total_sum{{{labels}}}", 0.0, rate * 0.1),
    ]


@dataclass(eq=False)
class Pod:
    app: int
    number: int
    node: int
    born: float
    callers: list["Pod"] = field(default_factory=list)
    callees: list["Pod"] = field(default_factory=list)
    own: list[Lines] = field(default_factory=list)  # end with it
    towards: list[Lines] = field(default_factory=list)  # of its callers: idle when it ends

    @property
    def name(self) -> str:
        digits = [SAFE[self.number // len(SAFE) ** i % len(SAFE)] for i in range(5)]
        return f"app-{self.app}-{HASH}-{''.join(digits)}"

    @property
    def ip(self) -> str:
        return f"10.{128 + self.number // 65536}.{self.number // 256 % 256}.{self.number % 256}"

    @property
    def labels(self) -> str:
        return f'machine_id="{self.node + 1:032x}",container_id="/k8s/{objects.NAMESPACE}/{self.name}/app"'


class Cluster:
    def __init__(self, applications: int, pods: int, nodes: int, churn: float, now: float) -> None:
        """``churn``: pods that are replaced by others, per second."""
        self.applications, self.churn, self.nodes = applications, churn, nodes
        self._numbers = itertools.count(1)
        self.lines: list[list[Lines]] = [[Lines(self._node(node), now)] for node in range(nodes)]
        self.pods = [self._pod(i % applications, i % nodes, now) for i in range(pods)]
        self._by_app = [self.pods[app::applications] for app in range(applications)]
        for pod in self.pods:
            for app in self._called(pod.app):
                others = self._by_app[app]
                for i in range(min(SPREAD, len(others))):
                    self._connect(pod, others[(pod.number + i) % len(others)], now)
        self._next, self._victim = now, 0

    def _called(self, app: int) -> set[int]:
        return {(CALLS * app + i) % self.applications for i in range(1, CALLS + 1)} - {app}

    def service_ip(self, app: int) -> str:
        return f"10.96.{app // 250 + 1}.{app % 250 + 1}"

    def _node(self, node: int) -> list[tuple[str, float, float]]:
        machine = f'machine_id="{node + 1:032x}"'
        return [
            (f'node_info{{{machine},hostname="node-{node}"}}', 1, 0),
            (f"node_resources_cpu_logical_cores{{{machine}}}", 16, 0),
            (f'node_resources_cpu_usage_seconds_total{{{machine},mode="user"}}', 0, 4),
            (f"node_resources_memory_total_bytes{{{machine}}}", 64e9, 0),
            (f"node_resources_memory_available_bytes{{{machine}}}", 32e9, 0),
        ]

    def _add(self, pod: Pod, series: list[tuple[str, float, float]], born: float) -> Lines:
        lines = Lines(series, born)
        self.lines[pod.node].append(lines)
        pod.own.append(lines)
        return lines

    def _pod(self, app: int, node: int, born: float) -> Pod:
        pod = Pod(app, next(self._numbers), node, born)
        c, name = pod.labels, "container_resources_"
        series = [
            (f'container_info{{{c},image="app:1"}}', 1, 0),
            (f"container_restarts_total{{{c}}}", 0, 0),
            (f"container_oom_kills_total{{{c}}}", 0, 0),
            (f"{name}cpu_limit_cores{{{c}}}", 1, 0),
            (f"{name}cpu_usage_seconds_total{{{c}}}", 0, 0.1),
            (f"{name}cpu_delay_seconds_total{{{c}}}", 0, 0.001),
            (f"{name}cpu_throttled_seconds_total{{{c}}}", 0, 0),
            (f"{name}memory_limit_bytes{{{c}}}", 256e6, 0),
            (f"{name}memory_rss_bytes{{{c}}}", 100e6, 0),
            (f'container_net_tcp_listen_info{{{c},listen_addr="{pod.ip}:80",proxy=""}}', 1, 0),
        ]
        for peer in ("cluster", "outside"):
            series += requests("container_http_inbound_requests", f'{c},peer="{peer}"', RATE * CALLS)
        for other in self._called(app):
            series.append((f'container_net_tcp_failed_connects_total{{{c},destination="{self.service_ip(other)}:80"}}', 0, 0))
        self._add(pod, series, born)
        return pod

    def _connect(self, client: Pod, server: Pod, born: float) -> None:
        client.callees.append(server)
        server.callers.append(client)
        edge = f'{client.labels},destination="{self.service_ip(server.app)}:80",actual_destination="{server.ip}:80"'
        series = requests("container_http_requests", edge, RATE)
        series += [(f"container_net_tcp_{name}{{{edge}}}", base, rate) for name, base, rate in TCP]
        server.towards.append(self._add(client, series, born))

    def advance(self, now: float) -> list[tuple[Pod, Pod]]:
        """Lets pods be replaced until ``now``; (old, new) of each."""
        replaced = []
        while self.churn and self._next + 1 / self.churn <= now:
            self._next += 1 / self.churn
            self._victim = (self._victim + 1) % len(self.pods)
            replaced.append((self.pods[self._victim], self._replace(self._victim, self._next)))
        return replaced

    def _replace(self, place: int, now: float) -> Pod:
        old = self.pods[place]
        new = self.pods[place] = self._pod(old.app, old.node, now)
        for lines in old.own:
            lines.gone = min(lines.gone, now)
        for lines in old.towards:
            lines.stop, lines.gone = now, min(lines.gone, now + IDLE)
        for caller in old.callers:
            caller.callees.remove(old)
            self._connect(caller, new, now)
        for callee in old.callees:
            callee.callers.remove(old)
            self._connect(new, callee, now)
        return new

    def text(self, node: int, now: float) -> bytes:
        alive = self.lines[node] = [lines for lines in self.lines[node] if lines.gone > now]
        lines = (f"{head} {value}\n" for each in alive for head, value in zip(each.heads, each.values(now), strict=True))
        return "".join(lines).encode()

    def write_past(self, target: Path, start: float, end: float, step: float) -> int:
        """OpenMetrics of (start, end], and all replacements of pods in it; the number of samples."""
        self.advance(end)
        count = 0
        with target.open("w") as out:
            for each in itertools.chain(*self.lines):
                begin = start + np.ceil((each.born - start) / step) * step
                times = np.arange(begin, min(each.gone, end), step)
                columns = np.array([each.values(float(at)) for at in times]).reshape(len(times), len(each.heads)).T.tolist()
                for head, values in zip(each.heads, columns, strict=True):
                    out.writelines(f"{head} {value} {at:.3f}\n" for value, at in zip(values, times.tolist(), strict=True))
                count += len(times) * len(each.heads)
            out.write("# EOF\n")
        return count

    def serve(self) -> dict[str, str]:
        """An agent for each node; scrape job -> address."""
        servers = [serve(lambda node=node: self.text(node, time.time())) for node in range(self.nodes)]
        return {f"node-{node}": f"127.0.0.1:{server.server_address[1]}" for node, server in enumerate(servers)}

    # the API server's side

    def create(self, kube: Kube) -> None:
        """All objects, eight at a time."""
        for name in (objects.NAMESPACE, "appstatus"):
            objects.namespace(kube, name)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda node: create_node(kube, node), range(self.nodes)))
            self._sets = list(pool.map(lambda app: self._create_application(kube, app), range(self.applications)))
            list(pool.map(lambda pod: self._create_pod(kube, pod), self.pods))

    def replace_objects(self, kube: Kube, replaced: list[tuple[Pod, Pod]]) -> None:
        for old, new in replaced:
            if new in self.pods:
                kube.request("DELETE", path("v1", "pods", objects.NAMESPACE, old.name), body={"gracePeriodSeconds": 0})
                self._create_pod(kube, new)
                slices = path("discovery.k8s.io/v1", "endpointslices", objects.NAMESPACE, f"app-{new.app}")
                kube.request("PATCH", slices, body={"endpoints": self._endpoints(new.app)}, content_type=objects.MERGE)

    def _create_application(self, kube: Kube, app: int) -> dict:
        """Deployment, ReplicaSet (returned), Service, EndpointSlice."""
        name, ports = f"app-{app}", [{"name": "http", "port": 80, "protocol": "TCP"}]
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
        count = sum(pod.app == app for pod in self.pods)
        spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
        running = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), count)
        deployments = path("apps/v1", "deployments", objects.NAMESPACE)
        top = objects.create(kube, deployments, {"metadata": {"name": name}, "spec": spec}, running | {"observedGeneration": 1})
        owner = {"metadata": {"name": f"{name}-{HASH}", "ownerReferences": [owner_of("apps/v1", "Deployment", top)]}}
        found = objects.create(kube, path("apps/v1", "replicasets", objects.NAMESPACE), owner | {"spec": spec})
        service = {"clusterIP": self.service_ip(app), "selector": labels, "ports": ports}
        objects.create(kube, path("v1", "services", objects.NAMESPACE), {"metadata": {"name": name}, "spec": service})
        slices = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": ports, "endpoints": self._endpoints(app),
        }  # fmt: skip
        objects.create(kube, path("discovery.k8s.io/v1", "endpointslices", objects.NAMESPACE), slices)
        return found

    def _endpoints(self, app: int) -> list[dict]:
        return [
            {"addresses": [pod.ip], "targetRef": {"kind": "Pod", "namespace": objects.NAMESPACE, "name": pod.name}}
            for pod in self.pods
            if pod.app == app
        ]

    def _create_pod(self, kube: Kube, pod: Pod) -> None:
        owner = owner_of("apps/v1", "ReplicaSet", self._sets[pod.app])
        labels = {"app": f"app-{pod.app}", "pod-template-hash": HASH}
        body = {
            "metadata": {"name": pod.name, "labels": labels, "ownerReferences": [owner]},
            "spec": {"nodeName": f"node-{pod.node}", "containers": [{"name": "app", "image": "app:1"}]},
        }
        container = {"name": "app", "ready": True, "restartCount": 0, "image": "app:1", "imageID": "", "state": {"running": {}}}
        status = {"phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "conditions": READY}
        status["containerStatuses"] = [container]
        objects.create(kube, path("v1", "pods", objects.NAMESPACE), body, status)


READY = [{"type": kind, "status": "True", "lastTransitionTime": objects.LONG_AGO} for kind in ("PodScheduled", "Ready")]


def create_node(kube: Kube, node: int) -> None:
    status = {
        "conditions": READY[1:],
        "allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": f"10.1.{node // 250}.{node % 250 + 1}"}],
        "nodeInfo": NODE_INFO | {"machineID": f"{node + 1:032x}"},
    }
    objects.create(kube, path("v1", "nodes"), {"metadata": {"name": f"node-{node}"}}, status)


NODE_INFO = dict.fromkeys(
    ("systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion",
     "operatingSystem", "architecture"), "")  # fmt: skip


def owner_of(api_version: str, kind: str, found: dict) -> dict:
    metadata = found["metadata"]
    return {"apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}
