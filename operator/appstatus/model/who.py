"""Who is who in the labels of the metrics: containers, the applications they belong to, and whom they call.

Answers about traffic are summed up by application as they arrive (``Who.fold``): what is kept and worked on does not grow with pods
that come and go, and each sample is attributed by what was known when it was first read.
"""

from collections.abc import Iterable

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.scope import Scope
from appstatus.model.addresses import Addresses, Callee
from appstatus.model.facts import Facts
from appstatus.model.http import status_class
from appstatus.model.identity import Identities, Owner
from appstatus.model.probes import Probes
from appstatus.model.queries import Query
from appstatus.model.rows import fold
from appstatus.model.series import F64, Key, Metrics, Series

# A name that was seen for an address within this many steps counts more than one that was not: it may have a new holder.
RECENT = 4


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
        self._callees: dict[Key, Callee] = {}  # by (destination, actual destination)
        self._earlier: dict[Key, tuple[tuple[int, Callee], ...]] = {}  # who it was below which columns, ascending
        self._former: tuple[int, dict[Key, Callee], dict[Key, tuple[tuple[int, Callee], ...]]] = (0, {}, {})
        self._end = self._again = 0
        listens = []
        for _, (machine, container, address) in _newest_first(known.get("listen")):
            owner = self.owner(machine, container)
            if owner is not None:
                listens.append((owner, self.node(machine), self._on_host_network(owner), address))
        names = _newest_first(known.get("ip_to_fqdn"))
        recent = {ip for age, (ip, _) in names if age < RECENT}
        fqdns = [(ip, fqdn) for age, (ip, fqdn) in names if age < RECENT or ip not in recent]
        self._addresses = Addresses(facts, self.identities, listens, fqdns)
        self._probes = Probes(facts)

    def follow(self, former: "Who", end: int, again: int) -> None:
        """Columns up to ``end`` will be folded; those that ``former`` has folded, again from ``again`` on, stay as it had them."""
        self._end, self._again = end, again
        # One that folded nothing (the store was down) only hands on.
        self._former = (former._end + 1, former._callees, former._earlier) if former._callees else former._former

    def node(self, machine: str) -> str:
        """The name of the node with a machine_id; the machine_id itself where nobody says."""
        return self.machines.get(machine, machine)

    def owner(self, machine: str, container: str) -> Owner | None:
        """None for a series without a container."""
        key = (machine, container)
        if key not in self._owners:
            self._owners[key] = self.identities.container(container, self.node(machine)) if container else None
        return self._owners[key]

    def fold(
        self, query: Query, parts: Iterable[tuple[list[Key], F64]], columns: int, first: int | None = None
    ) -> tuple[list[Key], F64, int]:
        """Keys and values of the rows that are kept of an answer, and the number of series it had.

        ``parts`` of the answer: values of the labels ``query.by``, and (series, columns). ``first``: the number of the first
        column, see ``follow``; None: all is as it is known now.
        """
        numbers: dict[Key, int] = {}
        groups: list[int] = []
        blocks = [np.empty((0, columns))]
        count = 0
        for keys, block in parts:
            count += len(keys)
            rows = [self._row(query, key) for key in keys]
            if first is not None and self._earlier and query.rows == "connections":
                rows, block = self._apart(query, keys, rows, block, first)
            groups += [-1 if row is None else numbers.setdefault(row, len(numbers)) for row in rows]
            blocks.append(block)
        values = np.concatenate(blocks) if len(blocks) != 2 else blocks[1]
        return list(numbers), fold(values, np.array(groups, dtype=np.intp), len(numbers), query.how), count

    def _row(self, query: Query, key: Key) -> Key | None:
        """What a series is kept under, see ``Query.rows``; None: probes, scrapes, calls to itself, nobody's."""
        if query.rows == "series":
            return key
        if query.rows == "applications":
            owner = self.owner(*key[:2])
            return (owner.app, *_normal(query, key, 2)) if owner is not None else None
        if query.rows == "instances":
            owner = self.owner(*key[:2])
            return (owner.app, owner.instance, *_normal(query, key, 2)) if owner is not None else None
        edge, ends = _edge(query, key)
        if edge not in self._connections:
            self._connections[edge] = self._connection(edge, self._callee(edge[2:]))
        connection = self._connections[edge]
        return (*connection, *_normal(query, key, ends)) if connection is not None else None

    def _apart(self, query: Query, keys: list[Key], rows: list[Key | None], block: F64, first: int) -> tuple[list[Key | None], F64]:
        """Rows and values with the columns of the time when somebody else answered as rows of their own."""
        rows, block, more = list(rows), block.copy(), []
        for i, key in enumerate(keys):
            edge, ends = _edge(query, key)
            for below, callee in self._earlier.get(edge[2:], ()):
                then = slice(0, max(below - first, 0))
                if np.isnan(block[i, then]).all():
                    continue
                values = np.full(block.shape[1], np.nan)
                values[then], block[i, then] = block[i, then], np.nan
                connection = self._connection(edge, callee)
                rows.append((*connection, *_normal(query, key, ends)) if connection is not None else None)
                more.append(values)
                if np.isnan(block[i]).all():
                    rows[i] = None
        return rows, np.vstack([block, *more])

    def _callee(self, called: Key) -> Callee:
        found = self._callees.get(called)
        if found is None:
            found = self._addresses.callee(*called)
            since, callees, before = self._former
            earlier = tuple(each for each in before.get(called, ()) if each[0] > self._again)
            former = callees.get(called, found)
            # Whom nobody knew then (the first seconds of a pod) is found in what is read again.
            if former != found and not (former.app is not None and former.app.is_external):
                earlier = (*earlier, (since, former))
            if earlier:
                self._earlier[called] = earlier
            self._callees[called] = found
        return found

    def _connection(self, edge: Key, callee: Callee) -> tuple[AppKey, AppKey] | None:
        machine, container = edge[:2]
        owner = self.owner(machine, container)
        if owner is None or callee.app is None or owner.app == callee.app:
            return None
        if self._probes.is_probe(owner, self.node(machine), callee):
            return None
        return owner.app, callee.app

    def _on_host_network(self, owner: Owner) -> bool:
        pod = self.facts.pods.get(owner.pod) if owner.pod else None
        return owner.pod is None or (pod is not None and pod.host_network)


def _edge(query: Query, key: Key) -> tuple[Key, int]:
    """(machine_id, container_id, destination, actual destination or nothing) of a key, and how many of its labels those are."""
    ends = 4 if "actual_destination" in query.by else 3
    return (key[:4] if ends == 4 else (*key[:3], "")), ends


def _newest_first(series: Series) -> list[tuple[int, Key]]:
    """(steps since its last sample, key) of every row."""
    if not series.keys:
        return []
    known = ~np.isnan(series.values)
    ages = np.where(known.any(axis=1), known[:, ::-1].argmax(axis=1), known.shape[1])
    return sorted(zip(ages.tolist(), series.keys, strict=True), key=lambda row: row[0])


def _normal(query: Query, key: Key, begin: int) -> Iterable[str]:
    """The further labels of a row: codes become classes."""
    labels = zip(query.by[begin:], key[begin:], strict=True)
    return (status_class(value) if label == "status" else value for label, value in labels)


def _machines(facts: Facts, known: Metrics) -> dict[str, str]:
    """machine_id -> node: what the API server says, else the host name, else the machine_id itself."""
    found = {fact.machine_id: fact.name for fact in facts.nodes.values() if fact.machine_id}
    for _, (machine, hostname) in _newest_first(known.get("node_info")):
        if hostname in facts.nodes or machine not in found:
            found[machine] = hostname or machine
    return found
