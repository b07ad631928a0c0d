"""Calls that are not users: the kubelet's probes and metric scrapes, as their clients see them.

The server's side has the agent's peer classes for this. The client's side has none, and there a probe that gets no answer would
count as a lost request of the application.
"""

from appstatus.model.addresses import Callee
from appstatus.model.facts import Facts
from appstatus.model.identity import Owner

# Parts of the images (or, without the API server, container names) of what scrapes metrics.
SCRAPERS = (
    "prometheus",
    "vmagent",
    "vmsingle",
    "victoria-metrics",
    "opentelemetry-collector",
    "otel-collector",
    "otelcol",
    "grafana-agent",
    "grafana/agent",
    "alloy",
    "datadog",
    "telegraf",
    "netdata",
)


class Probes:
    def __init__(self, facts: Facts) -> None:
        self._images = {
            (namespace, name, container.name): container.image
            for (namespace, name), pod in facts.pods.items()
            for container in pod.containers
        }

    def is_probe(self, client: Owner, node: str, callee: Callee) -> bool:
        """``node``: the client's. Probes and scrapes dial pods, never Services; the kubelet is in no pod, and asks only its own."""
        if callee.service:
            return False
        if client.pod is None:
            return callee.node == node
        image = self._images.get((*client.pod, client.container), "")
        return any(part in (image or client.container) for part in SCRAPERS)
