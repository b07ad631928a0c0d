"""What a cgroup path says about its owner. Pure: strings in, `Owner` out.

Forms understood (v1, hybrid and v2 trees; the cgroupfs and the systemd driver; also nested, as in kind):

| form                                                                     | owner |
|--------------------------------------------------------------------------|-------|
| `/kubepods/burstable/pod<uid>/<id>`                                      | pod container, cgroupfs driver |
| `/kubepods.slice/…/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope` | pod container, systemd driver |
| `…/system.slice/containerd.service/kubepods-…-pod<uid_>.slice:cri-containerd:<id>` | pod container, drivers that disagree |
| `/docker/<id>`, `/system.slice/docker-<id>.scope`, `/machine.slice/libpod-<id>.scope` | container outside Kubernetes |
| `/system.slice/nginx.service`                                            | systemd unit |
| `/user.slice/user-1000.slice/…`                                          | one owner for each user |
| anything else                                                            | itself, at most three levels deep |

The uid of a static pod is the hash of its manifest: 32 hex digits without dashes.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """Who a cgroup belongs to."""

    POD_CONTAINER = "pod container"  # also the sandbox: only names tell them apart
    CONTAINER = "container"
    UNIT = "unit"
    OTHER = "other"
    NONE = "none"  # the root, and groups that only hold other groups


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a cgroup. `path` is the owner's own cgroup: a nested cgroup has its nearest owner's path."""

    kind: Kind
    path: str
    runtime_id: str = ""
    pod_uid: str = ""

    @property
    def pod_path(self) -> str:
        """The pod's own cgroup, whose limits hold for all its containers; "" outside pods."""
        return self.path.rsplit("/", 1)[0] if self.pod_uid else ""


NOBODY = Owner(Kind.NONE, "/")
OTHER_DEPTH = 3

_UID = r"(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
_POD_GROUP = re.compile(rf"(?:.*kubepods.*-)?pod{_UID}(?:\.slice)?")
_POD_COLON = re.compile(rf".*-pod{_UID}\.slice:[a-z-]+:(?P<id>\S+)")
_RUNTIME_GROUP = re.compile(r"(?:(?P<runtime>[a-z][a-z-]*)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_RUNTIME_NAMES = {"libpod": "podman", "cri-containerd": "containerd"}
_MONITOR = re.compile(r"[a-z]+-conmon-[0-9a-f]{64}\.scope")  # CRI-O's and podman's helper beside each container
_UNITS_WITHOUT_PROCESSES = (".slice", ".mount", ".socket", ".swap")
_HOLDERS = {"kubepods", "docker", "kubelet"}


def _uid(match: re.Match) -> str:
    return match["uid"].replace("_", "-")


def _strip_runtime(name: str) -> str:
    """`cri-containerd-<id>.scope` -> `<id>`; a name of no known form stays as it is."""
    match = _RUNTIME_GROUP.fullmatch(name)
    return match["id"] if match else name.removesuffix(".scope")


def owner_of(path: str) -> Owner:
    """The owner of the cgroup at `path` (from the root of its hierarchy, `/` first); the deepest container wins."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return NOBODY
    if any(map(_MONITOR.fullmatch, parts)):
        return Owner(Kind.NONE, path)

    def upto(index: int) -> str:
        return "/" + "/".join(parts[: index + 1])

    for index in range(len(parts) - 1, -1, -1):
        colon = _POD_COLON.fullmatch(parts[index])
        if colon:
            return Owner(Kind.POD_CONTAINER, upto(index), colon["id"], _uid(colon))
        pod = _POD_GROUP.fullmatch(parts[index])
        if pod:
            if index + 1 == len(parts):
                return Owner(Kind.NONE, path)
            return Owner(Kind.POD_CONTAINER, upto(index + 1), _strip_runtime(parts[index + 1]), _uid(pod))

    if parts[0] == "user.slice":
        return Owner(Kind.UNIT, upto(1)) if len(parts) > 1 else Owner(Kind.NONE, path)

    for index in range(len(parts) - 1, -1, -1):
        runtime = _RUNTIME_GROUP.fullmatch(parts[index])
        if runtime:
            return Owner(Kind.CONTAINER, upto(index), runtime["id"])

    for index, part in enumerate(parts):
        if part.endswith((".service", ".scope")):
            return Owner(Kind.UNIT, upto(index))
    if parts[-1].endswith(_UNITS_WITHOUT_PROCESSES) or parts[0] in _HOLDERS or any(part.startswith("kubepods") for part in parts):
        return Owner(Kind.NONE, path)
    return Owner(Kind.OTHER, upto(min(OTHER_DEPTH, len(parts)) - 1))


def plain_name(owner: Owner) -> str:
    """`container_id` label of an owner that is not a pod's: `/docker/<12 digits>`, else its cgroup path."""
    if owner.kind is not Kind.CONTAINER:
        return owner.path
    parts = owner.path.split("/")
    match = _RUNTIME_GROUP.fullmatch(parts[-1])
    runtime = (match and match["runtime"]) or parts[-2]
    return f"/{_RUNTIME_NAMES.get(runtime, runtime)}/{owner.runtime_id[:12]}"
