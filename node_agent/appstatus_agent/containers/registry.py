"""Registry of the node's containers: cgroup id -> container, and what must outlive a cgroup (restarts, OOM kills).

One thread writes (`refresh`, `refresh_names`), others only read: every published dict is replaced, never changed.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from ..kernel.rows import OWNER_UNKNOWN, OWNER_V1
from .delay import thread_delays
from .life import Container, Group
from .lognames import LogNames
from .paths import Kind, Owner, owner_of, plain_name
from .stats import Cpu, Memory, read_cpu, read_memory
from .tree import Hierarchies, process_ids, walk

log = logging.getLogger(__name__)

FORGET_SECONDS = 600.0  # how long counters of an ended container stay, so that a crash loop keeps its history
MAX_BIRTHS = 4096
PATIENT_WALKS = 2  # a cgroup may be younger than the walk that did not find it
FORGET_WALKS = 40
UNKNOWN = "~unknown"
NAME_PATIENCE_SECONDS = 5.0  # the kubelet makes the symlink just after the start
SANDBOX_COMMANDS = {"pause", "conmon"}


class Registry:
    """Containers of this node. Times are seconds of any monotonic clock, given by the caller."""

    def __init__(self, trees: Hierarchies, names: LogNames) -> None:
        self.trees = trees
        self.names = names
        self._groups: dict[str, Group] = {}
        self._containers: dict[str, Container] = {}
        self._by_cgroup: dict[int, Group] = {}
        self._ended: dict[int, tuple[Group, float]] = {}
        self._pending: list[Group] = []
        self._told: set[str] = set()
        self._strangers: dict[int, int] = {}  # asked for but seen by no walk yet -> walks before the first question
        self._births: dict[int, str] = {}  # path of cgroups made lately: some end before a walk sees them
        self._walks = 0
        mounts = [trees.v2, trees.v1.get("cpu"), trees.v1.get("memory")]
        # The kernel names an owner by its cgroup-v2 id or, where that is the root's, by the one in the v1 memory hierarchy.
        self._id_flags = {trees.v2: 0, trees.v1.get("memory"): OWNER_V1}
        self._mounts: list[Path] = list(dict.fromkeys(mount for mount in mounts if mount is not None))

    # reading

    @property
    def containers(self) -> list[Container]:
        return list(self._containers.values())

    @property
    def pending(self) -> bool:
        """Whether a container waits for its name (call `refresh_names` soon)."""
        return bool(self._pending)

    def knows(self, owner: int) -> bool:
        """Whether the last walk saw this cgroup (it may belong to no container)."""
        return owner in self._by_cgroup

    def has_ended(self, owner: int) -> bool:
        """Whether this cgroup was known and is gone."""
        return owner in self._ended

    def by_cgroup(self, owner: int) -> Container | None:
        """Container of an owner as the kernel names it, its own cgroup or a nested one; ended ones for ten minutes."""
        group = self._by_cgroup.get(owner)
        if group is None and owner in self._ended:
            group = self._ended[owner][0]
        return group.container if group else None

    def label_of(self, owner: int) -> str | None:
        """`container_id` for an owner of the kernel's rows; None while it is not known yet (ask again later).

        A cgroup that is no container's is its path; one that two walks did not find is `~unknown`.
        """
        container = self.by_cgroup(owner)
        if container:
            return container.id
        group = self._by_cgroup.get(owner) or self._ended.get(owner, (None,))[0]
        if group is not None:
            waits = group.owner.kind is Kind.POD_CONTAINER and not group.sandbox
            return None if waits else group.owner.path
        first_asked = self._strangers.setdefault(owner, self._walks)
        return UNKNOWN if self._walks - first_asked >= PATIENT_WALKS or owner == OWNER_UNKNOWN else None

    @property
    def strangers(self) -> bool:
        """Whether `label_of` was asked for a cgroup that no walk has seen yet (walk soon)."""
        return any(self._walks - first_asked < PATIENT_WALKS for first_asked in list(self._strangers.values()))

    def by_pid(self, pid: int) -> Container | None:
        """Container of a process, for one that is in no v2 cgroup of its own."""
        group = self._group_of_pid(pid)
        return group.container if group else None

    def _group_of_pid(self, pid: int) -> Group | None:
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            path = line.split(":", 2)[2]
            group = self._groups.get(owner_of(path).path) if path != "/" else None
            if group:
                return group
        return None

    def cpu(self, group: Group) -> Cpu:
        return read_cpu(self.trees, group.owner.path, group.owner.pod_path)

    def memory(self, group: Group) -> Memory:
        return read_memory(self.trees, group.owner.path, group.owner.pod_path)

    def process_ids(self, group: Group, *, threads: bool = False) -> list[int]:
        """Processes (or threads) of a container, from the first hierarchy that has any."""
        for mount in self._mounts:
            ids = process_ids(Path(f"{mount}{group.owner.path}"), threads=threads)
            if ids:
                return ids
        return []

    def counts(self) -> dict[str, int]:
        """Running containers by kind; `unnamed` are pod containers whose name the node's files do not tell."""
        counts = dict.fromkeys((*(kind.value for kind in Kind if kind is not Kind.NONE), "sandbox", "unnamed"), 0)
        for group in self._groups.values():
            unnamed = group.owner.kind is Kind.POD_CONTAINER and group.name is None
            counts["sandbox" if group.sandbox else "unnamed" if unnamed else group.owner.kind.value] += 1
        return counts

    # writing

    def refresh(self, now: float) -> None:
        """Walk the cgroup trees: new containers, ended ones, and which cgroup id is whose."""
        instances: dict[Owner, int] = {}  # the owner's own cgroup
        nested: dict[int, str] = {}  # key of any cgroup -> path of its owner
        by_cgroup: dict[int, Group] = {}
        for mount in self._mounts:
            flag = self._id_flags.get(mount)
            for path, inode in walk(mount).items():
                owner = owner_of(path)
                if owner.kind is not Kind.NONE and path == owner.path:
                    instances.setdefault(owner, inode)
                if flag is None:
                    continue
                if owner.kind is Kind.NONE:
                    by_cgroup[inode | flag] = Group(Owner(Kind.NONE, path), inode, now)
                else:
                    nested[inode | flag] = owner.path

        groups, new = self._match(instances, now)
        by_cgroup.update((key, groups[path]) for key, path in nested.items() if path in groups)
        self._publish(groups, by_cgroup, now)
        self._remember_short_lived(now)
        for group in new:
            if group.owner.kind is Kind.POD_CONTAINER:
                self._pending.append(group)
            else:
                self._start(group, plain_name(group.owner), now)
                if group.owner.kind is Kind.OTHER:
                    self._tell_once("other", "cgroup %s is of no layout I know; it is shown under its path, like all of its kind",
                                    group.owner.path)
        if self._pending:
            self.refresh_names(now)

    def _match(self, instances: dict[Owner, int], now: float) -> tuple[dict[str, Group], list[Group]]:
        """Groups by path, the known ones kept while their cgroup is the same, and those that are new; ends the others."""
        groups: dict[str, Group] = {}
        new: list[Group] = []
        for owner, instance in instances.items():
            group = self._groups.get(owner.path)
            if group is None or group.instance != instance:
                group = Group(owner, instance, now)
                new.append(group)
            groups[owner.path] = group
        for path, group in self._groups.items():
            if groups.get(path) is not group:
                self._end(group, now)
        return groups, new

    def _publish(self, groups: dict[str, Group], by_cgroup: dict[int, Group], now: float) -> None:
        ended = {
            key: (group, now)
            for key, group in self._by_cgroup.items()
            if key not in by_cgroup and group.owner.kind is not Kind.NONE
        }
        kept = {key: entry for key, entry in self._ended.items() if now - entry[1] < FORGET_SECONDS}
        self._groups, self._by_cgroup, self._ended = groups, by_cgroup, {**kept, **ended}
        self._walks += 1
        self._strangers = {
            key: walk for key, walk in list(self._strangers.items()) if key not in by_cgroup and self._walks - walk < FORGET_WALKS
        }
        for group in groups.values():
            if group.container:
                group.container.last_seen = now
        self._containers = {
            key: container
            for key, container in self._containers.items()
            if container.group or now - container.last_seen < FORGET_SECONDS
        }

    def note_birth(self, owner: int, path: str) -> None:
        """A cgroup was made (the kernel's event): its path is known even if it ends before the next walk."""
        self._births[owner] = path
        if len(self._births) > MAX_BIRTHS:
            self._births.pop(next(iter(self._births)))

    def _remember_short_lived(self, now: float) -> None:
        """Strangers that lived between two walks get their owner from the path they were made with."""
        found = {}
        for key in list(self._strangers):
            path = self._births.get(key)
            if path is None:
                continue
            owner = owner_of(path)
            group = self._groups.get(owner.path)
            if group is None:
                group = Group(owner, key, now, ended=True)
                if owner.kind is Kind.POD_CONTAINER:
                    self._pending.append(group)
                elif owner.kind is not Kind.NONE:
                    self._start(group, plain_name(owner), now)
            found[key] = (group, now)
        self._ended = {**self._ended, **found}
        self._strangers = {key: walk for key, walk in list(self._strangers.items()) if key not in found}

    def refresh_names(self, now: float) -> None:
        """Look again for the names of containers that wait for one."""
        self.names.refresh()
        waiting, self._pending = self._pending, []
        for group in waiting:
            name = group.name = self.names.container(group.owner.runtime_id)
            if name:
                group.sandbox = False
                self._start(group, f"/k8s/{name.namespace}/{name.pod}/{name.container}", now)
                continue
            group.sandbox = group.sandbox or self._is_sandbox(group)
            if now - group.seen < NAME_PATIENCE_SECONDS:
                self._pending.append(group)
            elif group.sandbox or group.ended:
                group.sandbox = True  # the link to a container's log outlives it: only a sandbox ends without a name
            else:
                pod = self.names.pod(group.owner.pod_uid)
                short = group.owner.runtime_id[:12]
                shown = f"/k8s/{pod.namespace}/{pod.pod}/{short}" if pod else group.owner.path
                self._start(group, shown, now)
                self._tell_once("unnamed", "no log file in %s tells the name of container %s; it is shown as %s, others likewise",
                                self.names.folder, short, shown)

    def sample_delay(self) -> None:
        """Take the CPU delay of every running container (reads one small file for each thread)."""
        for container in self.containers:
            if container.group:
                container.delay.update(thread_delays(self.process_ids(container.group, threads=True)))

    def _start(self, group: Group, name: str, now: float) -> None:
        if group.ended and name in self._containers:
            group.container = self._containers[name]
            return  # an earlier life that was over before its name was known
        container = self._containers.get(name)
        if container is None:
            container = Container(name, group.owner.kind)
            self._containers = {**self._containers, name: container}
        container.start(group)
        container.last_seen = now
        if group.ended:
            container.group = None

    def _end(self, group: Group, now: float) -> None:
        group.ended = True
        container = group.container
        if container and container.group is group:
            container.group = None
            container.last_seen = now

    def _is_sandbox(self, group: Group) -> bool:
        commands = set(_commands(self.process_ids(group)))
        return bool(commands) and commands <= SANDBOX_COMMANDS

    def _tell_once(self, key: str, message: str, *arguments: object) -> None:
        if key not in self._told:
            self._told.add(key)
            log.warning(message, *arguments)


def _commands(pids: Iterable[int]) -> list[str]:
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return found

