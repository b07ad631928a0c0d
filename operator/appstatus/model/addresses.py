"""Who answers at an address: from ``destination`` and ``actual_destination`` to the application and instance behind them."""

from collections import Counter
from ipaddress import ip_address
from typing import NamedTuple

from appstatus.api.names import EXTERNAL, AppKey
from appstatus.model.facts import Facts, PodFact, ServiceFact
from appstatus.model.identity import Identities, Owner

OTHER = "~other"  # the agent's name for what is beyond its limit of destinations


class Upstream(NamedTuple):
    """``instance`` is empty where only the application is known."""

    app: AppKey
    instance: str


class Callee(NamedTuple):
    """What a call's addresses say. ``app``: None for the caller's own loopback; ``node``: see ``node_of``; ``service``: see
    ``is_service``."""

    app: AppKey | None
    node: str | None
    service: bool


def split(address: str) -> tuple[str, str]:
    """``1.2.3.4:80`` or ``[::1]:80`` or ``example.org:443`` -> (host, port); the port is empty if there is none."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return address, ""
    return host.strip("[]"), port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Addresses:
    """``listens``: (owner, node, on the host's network, listen_addr) as the agents see them; ``fqdns``: (ip, fqdn). Of several that
    listen at one address the first counts."""

    def __init__(
        self, facts: Facts, identities: Identities, listens: list[tuple[Owner, str, bool, str]], fqdns: list[tuple[str, str]]
    ) -> None:
        self._facts = facts
        self._identities = identities
        self._services: dict[tuple[str, str], ServiceFact] = {}
        for service in facts.services.values():
            for ip in service.ips:
                for port, _ in service.ports:
                    self._services[ip, str(port)] = service
        self._behind: dict[tuple[str, str], list[AppKey]] = {}
        self._pods = self._pods_by_ip(facts)
        self._nodes = {ip: node.name for node in facts.nodes.values() for ip in node.ips}
        self._listeners: dict[tuple[str, str], Owner] = {}
        self._listens_on: dict[str, str] = {}  # pod's address -> node
        self._on_host: dict[tuple[str, str], Owner] = {}
        for owner, node, host_network, address in listens:
            ip, listened = split(address)
            if host_network:
                self._on_host.setdefault((node, listened), owner)
            elif not _is_loopback(ip) and ip not in ("0.0.0.0", "::"):
                self._listeners.setdefault((ip, listened), owner)
                self._listens_on.setdefault(ip, node)
        self._fqdns: dict[str, str] = {}
        for ip, fqdn in sorted(fqdns, key=lambda pair: (len(pair[1]), pair[1]), reverse=True):
            if ip not in self._pods:  # else the address is the pod's, whoever had this name before it
                self._fqdns[ip] = fqdn.rstrip(".")  # of several names the shortest, always the same one

    @staticmethod
    def _pods_by_ip(facts: Facts) -> dict[str, PodFact]:
        found: dict[str, PodFact] = {}
        for pod in sorted(facts.pods.values(), key=lambda p: (not p.deleted and p.phase not in ("Succeeded", "Failed"), p.created)):
            if not pod.host_network:
                found.update(dict.fromkeys(pod.ips, pod))
        return found

    def resolve(self, destination: str, actual: str) -> Upstream | None:
        """None for the caller's own loopback.

        The Service that was dialled names the application even when the pod that answered is long gone and its address
        has a new holder; among several applications behind one Service the pod that answered decides.
        """
        answered = self._instance(actual) if actual else None
        host, port = split(destination)
        service = self._services.get((host, port)) or self._service_by_name(self._fqdns.get(host, host))
        if service is not None:
            apps = self._apps(service)
            if answered is not None and (answered.app in apps or not apps):
                return answered
            return Upstream(apps[0], "") if apps else Upstream(self._unknown_service(service, port), "")
        found = self._instance(destination)
        if found is not None:
            return found
        if answered is not None:
            return answered
        if _is_loopback(host):
            return None
        if destination == OTHER:
            return Upstream(AppKey("", EXTERNAL, OTHER), "")
        name = self._fqdns.get(host) or host
        return Upstream(AppKey("", EXTERNAL, f"{name}:{port}" if port else name), "")

    def callee(self, destination: str, actual: str) -> Callee:
        upstream = self.resolve(destination, actual)
        return Callee(upstream.app if upstream is not None else None, self.node_of(destination), self.is_service(destination))

    def is_service(self, destination: str) -> bool:
        """Whether the address that was dialled is that of a Service, not of one pod."""
        return split(destination) in self._services

    def node_of(self, destination: str) -> str | None:
        """The node of the pod whose own address (or host port) this is; None for everything else."""
        host, port = split(destination)
        pod = self._pods.get(host)
        if pod is not None:
            return pod.node
        owner = self._on_host.get((self._nodes.get(host, ""), port))
        if owner is not None and owner.pod is not None:
            return self._nodes[host]
        return self._listens_on.get(host)

    def _instance(self, address: str) -> Upstream | None:
        host, port = split(address)
        pod = self._pods.get(host)
        if pod is not None:
            return Upstream(self._identities.pod(pod.namespace, pod.name), pod.name)
        owner = self._listeners.get((host, port))
        if owner is None and host in self._nodes:
            owner = self._on_host.get((self._nodes[host], port))
        return Upstream(owner.app, owner.instance) if owner is not None else None

    def _service_by_name(self, fqdn: str) -> ServiceFact | None:
        """``postgres-0.postgres.shop.svc.cluster.local`` and ``postgres.shop.svc`` -> the Service."""
        labels = fqdn.split(".")
        if "svc" not in labels:
            return None
        at = labels.index("svc")
        return self._facts.services.get((labels[at - 1], labels[at - 2])) if at >= 2 else None

    def _apps(self, service: ServiceFact) -> list[AppKey]:
        """The applications behind a Service, the one with most pods first; also while it has not one pod."""
        key = (service.namespace, service.name)
        if key not in self._behind:
            backends = Counter(self._identities.pod(*pod) for pod in service.backends)
            apps = [app for app, _ in backends.most_common()]
            if service.selector:
                apps += [
                    app
                    for app, workload in self._facts.workloads.items()
                    if app.namespace == service.namespace
                    and app not in apps
                    and service.selector.items() <= workload.pod_labels.items()
                ]
            self._behind[key] = apps
        return self._behind[key]

    @staticmethod
    def _unknown_service(service: ServiceFact, port: str) -> AppKey:
        name = service.external_name or f"{service.name}.{service.namespace}.svc"
        return AppKey("", EXTERNAL, f"{name}:{port}")
