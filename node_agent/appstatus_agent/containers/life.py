"""A container and its lives: what ends with a cgroup, and what must outlive it (restarts, OOM kills, CPU delay)."""

from dataclasses import dataclass, field

from .delay import DelaySum
from .lognames import ContainerName
from .paths import Kind, Owner


@dataclass(slots=True, eq=False)
class Group:
    """One life of a container: its cgroup, from creation to removal. `instance` is its inode number, in v2 if it is there."""

    owner: Owner
    instance: int
    seen: float
    name: ContainerName | None = None
    container: "Container | None" = None
    sandbox: bool = False  # only runs what a pod's sandbox runs, and has no name so far
    ended: bool = False


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
