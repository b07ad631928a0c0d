"""Who is who in the labels of the metrics: containers, the applications they belong to, and whom they call.

Answers about traffic are summed up by application as they arrive (``Who.fold``): what is kept and worked on does not grow with pods
that come and go, and each sample is attributed by what was known when it was read.
"""

from collections.abc import Iterable

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.scope import Scope
from appstatus.model.addresses import Addresses
from appstatus.model.facts import Facts
from appstatus.model.http import status_class
from appstatus.model.identity import Identities, Owner
from appstatus.model.probes import Probes
from appstatus.model.queries import Query
from appstatus.model.rows import fold
from appstatus.model.series import F64, Key, Metrics


class Who:
    """``known``: the answers to ``queries.IDENTITY``. ``grouping``: of custom applications and categories (None: defaults).

    Keeps what it has resolved: an edge with a dozen series is judged once.
    """

    def __init__(self, facts: Facts, known: Metrics, grouping: Scope | None = None) -> None:
        self.facts = facts
        self.grouping = grouping or Scope((), {})
        self.identities = Identities(facts, self.grouping)
        self.machines = _machines(facts, known)
        self._owners: dict[Key, Owner | None] = {}
        self._connections: dict[Key, tuple[AppKey, AppKey] | None] = {}
        listens = []
        for machine, container, address in known.get("listen").keys:
            owner = self.owner(machine, container)
            if owner is not None:
                listens.append((owner, self.node(machine), self._on_host_network(owner), address))
        fqdns = [(ip, fqdn) for ip, fqdn in known.get("ip_to_fqdn").keys]
        self._addresses = Addresses(facts, self.identities, listens, fqdns)
        self._probes = Probes(facts, self._addresses)

    def node(self, machine: str) -> str:
        """The name of the node with a machine_id; the machine_id itself where nobody says."""
        return self.machines.get(machine, machine)

    def owner(self, machine: str, container: str) -> Owner | None:
        """None for a series without a container."""
        key = (machine, container)
        if key not in self._owners:
            self._owners[key] = self.identities.container(container, self.node(machine)) if container else None
        return self._owners[key]

    def fold(self, query: Query, parts: Iterable[tuple[list[Key], F64]], columns: int) -> tuple[list[Key], F64, int]:
        """Keys and values of the rows that are kept of an answer, and the number of series it had.

        ``parts`` of the answer: values of the labels ``query.by``, and (series, columns).
        """
        numbers: dict[Key, int] = {}
        groups: list[int] = []
        blocks = [np.empty((0, columns))]
        for keys, block in parts:
            for key in keys:
                row = self._row(query, key)
                groups.append(-1 if row is None else numbers.setdefault(row, len(numbers)))
            blocks.append(block)
        values = np.concatenate(blocks) if len(blocks) != 2 else blocks[1]
        return list(numbers), fold(values, np.array(groups, dtype=np.intp), len(numbers), query.how), len(groups)

    def _row(self, query: Query, key: Key) -> Key | None:
        """What a series is kept under, see ``Query.rows``; None: probes, scrapes, calls to itself, nobody's."""
        if query.rows == "series":
            return key
        if query.rows == "applications":
            owner = self.owner(*key[:2])
            return (owner.app, *_normal(query, key, 2)) if owner is not None else None
        ends = 4 if "actual_destination" in query.by else 3
        edge = key[:4] if ends == 4 else (*key[:3], "")
        if edge not in self._connections:
            self._connections[edge] = self._connection(*edge)
        connection = self._connections[edge]
        return (*connection, *_normal(query, key, ends)) if connection is not None else None

    def _connection(self, machine: str, container: str, destination: str, actual: str) -> tuple[AppKey, AppKey] | None:
        owner = self.owner(machine, container)
        upstream = self._addresses.resolve(destination, actual) if owner is not None else None
        if owner is None or upstream is None or owner.app == upstream.app:
            return None
        if self._probes.is_probe(owner, self.node(machine), destination):
            return None
        return owner.app, upstream.app

    def _on_host_network(self, owner: Owner) -> bool:
        pod = self.facts.pods.get(owner.pod) if owner.pod else None
        return owner.pod is None or (pod is not None and pod.host_network)


def _normal(query: Query, key: Key, begin: int) -> Iterable[str]:
    """The further labels of a row: codes become classes."""
    labels = zip(query.by[begin:], key[begin:], strict=True)
    return (status_class(value) if label == "status" else value for label, value in labels)


def _machines(facts: Facts, known: Metrics) -> dict[str, str]:
    """machine_id -> node: what the API server says, else the host name, else the machine_id itself."""
    found = {fact.machine_id: fact.name for fact in facts.nodes.values() if fact.machine_id}
    for machine, hostname in known.get("node_info").keys:
        if hostname in facts.nodes or machine not in found:
            found[machine] = hostname or machine
    return found
