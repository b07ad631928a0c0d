"""Names of pods and containers, from the log files that the kubelet keeps on the node.

    /var/log/pods/<namespace>_<pod>_<uid>/<container>/<attempt>.log           written by the runtime
    /var/log/containers/<pod>_<namespace>_<container>-<runtime id>.log -> …   symlink, made by the kubelet

Kubernetes names cannot contain `_`, so both forms are unambiguous. The sandbox ("pause") container has neither.
Neither the API server nor the runtime's socket is asked.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_LINK = re.compile(r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>[^_]+)-(?P<id>[0-9a-f]{64})\.log")
_POD_DIR = re.compile(r"(?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[^_]+)")
_ATTEMPT = re.compile(r".*/(?P<attempt>[0-9]+)\.log(?:\.[^/]*)?")


@dataclass(frozen=True, slots=True)
class PodName:
    namespace: str
    pod: str


@dataclass(frozen=True, slots=True)
class ContainerName:
    """A container of a pod; `attempt` is the kubelet's restart count for it (0 = first start)."""

    namespace: str
    pod: str
    container: str
    attempt: int = 0


def parse_link(name: str) -> tuple[str, PodName, str] | None:
    """`<pod>_<namespace>_<container>-<id>.log` -> (runtime id, pod, container); None for any other name."""
    match = _LINK.fullmatch(name)
    return (match["id"], PodName(match["namespace"], match["pod"]), match["container"]) if match else None


def parse_pod_dir(name: str) -> tuple[str, PodName] | None:
    """`<namespace>_<pod>_<uid>` -> (uid, pod); None for any other name."""
    match = _POD_DIR.fullmatch(name)
    return (match["uid"], PodName(match["namespace"], match["pod"])) if match else None


def parse_attempt(target: str) -> int:
    """Restart count in a log path (`…/<container>/3.log` -> 3); 0 when it has none."""
    match = _ATTEMPT.fullmatch(target)
    return int(match["attempt"]) if match else 0


class LogNames:
    """What the two folders say now; `refresh` reads them again (two directory listings)."""

    def __init__(self, log_root: Path) -> None:
        self._links = log_root / "containers"
        self._pods = log_root / "pods"
        self._containers: dict[str, ContainerName] = {}
        self._pod_names: dict[str, PodName] = {}

    def refresh(self) -> None:
        containers: dict[str, ContainerName] = {}
        for name in _listing(self._links):
            parsed = parse_link(name)
            if parsed is None:
                continue
            runtime_id, pod, container = parsed
            entry = self._containers.get(runtime_id)
            if entry is None:
                try:
                    attempt = parse_attempt(str((self._links / name).readlink()))
                except OSError:  # removed meanwhile, or not a symlink
                    attempt = 0
                entry = ContainerName(pod.namespace, pod.pod, container, attempt)
            containers[runtime_id] = entry
        self._containers = containers
        self._pod_names = dict(filter(None, map(parse_pod_dir, _listing(self._pods))))

    def container(self, runtime_id: str) -> ContainerName | None:
        return self._containers.get(runtime_id)

    def pod(self, uid: str) -> PodName | None:
        return self._pod_names.get(uid)

    @property
    def folder(self) -> Path:
        return self._links

    def readable(self) -> bool:
        """Whether the node has the folders at all (False: not a Kubernetes node, or they are not mounted)."""
        return self._links.is_dir() and self._pods.is_dir()


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names only: a Path object for each costs ten times as much)
    except OSError:
        return []
