"""Registry of the node's containers: cgroup id -> container, and what must outlive a cgroup (restarts, OOM kills).

One thread writes (`refresh`, `born`, `gone`, `refresh_names`), others only read: every published dict is replaced, never changed.
"""

import logging
from pathlib import Path

from ..kernel.rows import OWNER_UNKNOWN, OWNER_V1
from .delay import thread_delays
from .life import Container, Group
from .lognames import LogNames
from .paths import Kind, Owner, owner_of, plain_name
from .stats import Cpu, Memory, read_cpu, read_memory
from .tree import Hierarchies, commands, process_ids, walk

log = logging.getLogger(__name__)

FORGET_SECONDS = 600.0  # how long counters of an ended container stay, so that a crash loop keeps its history
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
        self._left_v2: set[str] = set()  # paths that v2 has no more, and v1 may still have for a moment
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

    def knows_path(self, path: str) -> bool:
        """Whether the owner of the cgroup at `path` is running, as far as we know; True for what is nobody's."""
        owner = owner_of(path)
        return owner.kind is Kind.NONE or owner.path in self._groups

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
        instances: dict[Owner, tuple[int, bool]] = {}  # the owner's own cgroup: its inode, and whether that is in v2
        nested: dict[int, str] = {}  # key of any cgroup -> path of its owner
        by_cgroup: dict[int, Group] = {}
        for mount in self._mounts:
            flag = self._id_flags.get(mount)
            for path, inode in walk(mount).items():
                owner = owner_of(path)
                if owner.kind is not Kind.NONE and path == owner.path:
                    instances.setdefault(owner, (inode, mount is self.trees.v2))
                if flag is None:
                    continue
                if owner.kind is Kind.NONE:
                    by_cgroup[inode | flag] = Group(Owner(Kind.NONE, path), inode, now)
                else:
                    nested[inode | flag] = owner.path

        groups, new = self._match(instances, now)
        by_cgroup.update((key, groups[path]) for key, path in nested.items() if path in groups)
        self._publish(groups, by_cgroup, now)
        for group in new:
            self._begin(group, now)
        if self._pending:
            self.refresh_names(now)

    def _match(self, instances: dict[Owner, tuple[int, bool]], now: float) -> tuple[dict[str, Group], list[Group]]:
        """Groups by path, the known ones kept while their cgroup is the same, and those that are new; ends the others.

        A container's hierarchies are removed one after the other: what has left v2 and lingers in v1 is no new life.
        """
        groups: dict[str, Group] = {}
        new: list[Group] = []
        lingering = set()
        for owner, (instance, in_v2) in instances.items():
            group = self._groups.get(owner.path)
            if not in_v2 and (owner.path in self._left_v2 or (group and self._is_in_v2(group))):
                lingering.add(owner.path)
                continue
            if in_v2 and group and not self._is_in_v2(group):
                group.instance = instance  # its v1 cgroups were made first
            if group is None or group.instance != instance:
                group = Group(owner, instance, now)
                new.append(group)
            groups[owner.path] = group
        self._left_v2 = lingering
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

    def born(self, cgroup_id: int, path: str, now: float) -> None:
        """A v2 cgroup was made (the kernel's event)."""
        owner = owner_of(path)
        known = self._groups.get(owner.path)
        if owner.kind is Kind.NONE:
            group = Group(Owner(Kind.NONE, path), cgroup_id, now)
        elif path != owner.path:
            if known is None:
                return  # its owner's own event got lost; a walk will tell
            group = known
        else:
            if known and self._is_in_v2(known) and known.instance != cgroup_id:
                self.gone(known.instance, now)
                known = None
            group = known or Group(owner, cgroup_id, now)
            group.instance = cgroup_id
            self._groups = {**self._groups, path: group}
            if group is not known:
                self._begin(group, now)
        self._by_cgroup = {**self._by_cgroup, cgroup_id: group}

    def gone(self, cgroup_id: int, now: float) -> None:
        """A v2 cgroup was removed (the kernel's event)."""
        group = self._by_cgroup.get(cgroup_id)
        if group is None:
            return
        self._by_cgroup = {key: entry for key, entry in self._by_cgroup.items() if key != cgroup_id}
        if group.owner.kind is Kind.NONE:
            return
        self._ended = {**self._ended, cgroup_id: (group, now)}
        if group.instance == cgroup_id:
            self._groups = {path: entry for path, entry in self._groups.items() if entry is not group}
            self._left_v2.add(group.owner.path)
            self._end(group, now)

    def _is_in_v2(self, group: Group) -> bool:
        return self._by_cgroup.get(group.instance) is group

    def _begin(self, group: Group, now: float) -> None:
        if group.owner.kind is Kind.POD_CONTAINER:
            self._pending.append(group)
            return
        self._start(group, plain_name(group.owner), now)
        if group.owner.kind is Kind.OTHER:
            self._tell_once("other", "cgroup %s is of no layout I know; it is shown under its path, like all of its kind",
                            group.owner.path)

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
        running = commands(self.process_ids(group))
        return bool(running) and running <= SANDBOX_COMMANDS

    def _tell_once(self, key: str, message: str, *arguments: object) -> None:
        if key not in self._told:
            self._told.add(key)
            log.warning(message, *arguments)
