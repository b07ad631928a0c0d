"""Registry of the node's containers: cgroup id -> container, and what must outlive a cgroup (restarts, OOM kills).

One thread writes (`refresh`, `refresh_names`, `note_oom_kill`), others only read: every published dict is replaced, never changed.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .delay import DelaySum, thread_delays
from .lognames import ContainerName, LogNames
from .paths import Kind, Owner, owner_of, plain_name
from .stats import Usage, read_usage
from .tree import Hierarchies, process_ids, walk

log = logging.getLogger(__name__)

FORGET_SECONDS = 600.0  # how long counters of an ended container stay, so that a crash loop keeps its history
NAME_PATIENCE_SECONDS = 5.0  # the kubelet makes the symlink just after the start
SANDBOX_COMMANDS = {"pause", "conmon"}


@dataclass(slots=True, eq=False)
class Group:
    """One life of a container: its cgroup, from creation to removal. `instance` is the inode number of that cgroup."""

    owner: Owner
    instance: int
    seen: float
    name: ContainerName | None = None
    container: "Container | None" = None
    sandbox: bool = False


@dataclass(slots=True, eq=False)
class Container:
    """What one `container_id` label stands for, over any number of lives. `group` is None while it does not run."""

    id: str
    kind: Kind
    group: Group | None = None
    restarts: int = 0
    oom_kills: int = 0
    last_seen: float = 0.0
    pod_uid: str = ""
    delay: DelaySum = field(default_factory=DelaySum)
    _attempts_before: int = 0

    def start(self, group: Group) -> None:
        """A new life. Kubernetes counts restarts itself (the attempt number); elsewhere each new cgroup is one."""
        if group.name is None:
            self.restarts += self.group is not None or self.last_seen > 0
        else:
            if group.owner.pod_uid != self.pod_uid:  # a new pod of the same name starts again at attempt 0
                self._attempts_before = self.restarts
            self.restarts = max(self.restarts, self._attempts_before + group.name.attempt)
        if not self._is_older(group):
            self.group = group
            self.pod_uid = group.owner.pod_uid
        group.container = self

    def _is_older(self, group: Group) -> bool:
        """Whether `group` is an earlier attempt than the one that is known (both exist for a moment)."""
        now = self.group
        return bool(
            now and now.name and group.name
            and now.owner.pod_uid == group.owner.pod_uid and group.name.attempt < now.name.attempt
        )


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
        mounts = [trees.v2, trees.v1.get("cpu"), trees.v1.get("memory")]
        self._mounts: list[Path] = list(dict.fromkeys(mount for mount in mounts if mount is not None))

    # reading

    @property
    def containers(self) -> list[Container]:
        return list(self._containers.values())

    @property
    def pending(self) -> bool:
        """Whether a container waits for its name (call `refresh_names` soon)."""
        return bool(self._pending)

    def knows(self, cgroup_id: int) -> bool:
        """Whether the last walk saw this cgroup (it may belong to no container)."""
        return cgroup_id in self._by_cgroup

    def by_cgroup(self, cgroup_id: int) -> Container | None:
        """Container of a cgroup-v2 id, its own or that of a nested cgroup; ended ones for ten minutes."""
        group = self._by_cgroup.get(cgroup_id)
        if group is None and cgroup_id in self._ended:
            group = self._ended[cgroup_id][0]
        return group.container if group else None

    def by_pid(self, pid: int) -> Container | None:
        """Container of a process, for one that is in no v2 cgroup of its own."""
        group = self._group_of_pid(pid)
        return group.container if group else None

    def knows_pid(self, pid: int) -> bool:
        return self._group_of_pid(pid) is not None

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

    def usage(self, container: Container) -> Usage:
        owner = container.group.owner
        pod = owner.path.rsplit("/", 1)[0] if owner.pod_uid else ""
        return read_usage(self.trees, owner.path, limited_by=pod)

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

    def refresh(self, now: float) -> list[Group]:
        """Walk the cgroup trees. Returns the groups that are new and already have their container."""
        instances: dict[str, int] = {}
        owners: dict[str, Owner] = {}
        nested: dict[int, str] = {}
        known: set[int] = set()
        for mount in self._mounts:
            for path, inode in walk(mount).items():
                owner = owner_of(path)
                if mount is self.trees.v2:
                    known.add(inode)
                if owner.kind is Kind.NONE:
                    continue
                if mount is self.trees.v2:
                    nested[inode] = owner.path
                owners[owner.path] = owner
                if path == owner.path:
                    instances.setdefault(path, inode)

        groups: dict[str, Group] = {}
        new: list[Group] = []
        for path, instance in instances.items():
            group = self._groups.get(path)
            if group is None or group.instance != instance:
                group = Group(owners[path], instance, now)
                new.append(group)
            groups[path] = group
        for path, group in self._groups.items():
            if groups.get(path) is not group:
                self._end(group, now)
        by_cgroup = {inode: groups[path] for inode, path in nested.items() if path in groups}
        for inode, group in self._by_cgroup.items():
            if inode not in by_cgroup and group is not _NO_GROUP:
                self._ended[inode] = (group, now)
        by_cgroup.update((inode, _NO_GROUP) for inode in known if inode not in by_cgroup)
        self._groups, self._by_cgroup = groups, by_cgroup
        self._ended = {
            inode: entry for inode, entry in self._ended.items() if now - entry[1] < FORGET_SECONDS
        }
        for group in groups.values():
            if group.container:
                group.container.last_seen = now
        self._containers = {
            key: container
            for key, container in self._containers.items()
            if container.group or now - container.last_seen < FORGET_SECONDS
        }
        self._pending = [group for group in self._pending if groups.get(group.owner.path) is group]
        named = []
        for group in new:
            if group.owner.kind is Kind.POD_CONTAINER:
                self._pending.append(group)
            else:
                self._start(group, plain_name(group.owner), now)
                named.append(group)
                if group.owner.kind is Kind.OTHER:
                    self._tell_once(
                        "other", "cgroup %s is of no layout I know; it is shown under its path, like all of its kind",
                        group.owner.path,
                    )
        return named + (self.refresh_names(now) if self._pending else [])

    def refresh_names(self, now: float) -> list[Group]:
        """Look again for the names of containers that wait for one. Returns those that now have their container."""
        self.names.refresh()
        waiting, self._pending = self._pending, []
        named = []
        for group in waiting:
            group.name = self.names.container(group.owner.runtime_id)
            if group.name:
                name = group.name
                self._start(group, f"/k8s/{name.namespace}/{name.pod}/{name.container}", now)
                named.append(group)
            elif now - group.seen < NAME_PATIENCE_SECONDS:
                self._pending.append(group)
            elif self._is_sandbox(group):
                group.sandbox = True
            else:
                pod = self.names.pod(group.owner.pod_uid)
                short = group.owner.runtime_id[:12]
                self._start(group, f"/k8s/{pod.namespace}/{pod.pod}/{short}" if pod else group.owner.path, now)
                named.append(group)
                self._tell_once(
                    "unnamed", "container %s has no log file under %s that tells its name; it is shown as %s, and others likewise",
                    short, self.names.folder, group.container.id,
                )
        return named

    def note_oom_kill(self, container: Container) -> None:
        container.oom_kills += 1

    def sample_delay(self) -> None:
        """Take the CPU delay of every running container (reads one small file for each thread)."""
        for container in self.containers:
            if container.group:
                container.delay.update(thread_delays(self.process_ids(container.group, threads=True)))

    def _start(self, group: Group, name: str, now: float) -> None:
        container = self._containers.get(name)
        if container is None:
            container = Container(name, group.owner.kind)
            self._containers = {**self._containers, name: container}
        container.start(group)
        container.last_seen = now

    def _end(self, group: Group, now: float) -> None:
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


_NO_GROUP = Group(Owner(Kind.NONE, "/"), 0, 0.0)
