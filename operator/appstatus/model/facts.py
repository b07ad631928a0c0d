"""What the API server says, as plain data. Filled by ``sources/kubernetes.py``, or empty when the CLI has no cluster rights.

Times are unix seconds; ``None`` means that the API server does not say.
"""

from dataclasses import dataclass, field

from appstatus.api.names import AppKey, ObjectRef


@dataclass(frozen=True, slots=True)
class ContainerFact:
    name: str
    image: str
    cpu_limit: float | None = None  # cores
    cpu_request: float | None = None  # cores
    memory_limit: float | None = None  # bytes
    ready: bool = False
    restarts: int = 0
    waiting_reason: str = ""  # CrashLoopBackOff, ImagePullBackOff, ...
    last_terminated_reason: str = ""  # OOMKilled, Error, ...
    last_terminated_at: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed on a workload or node at ``time``: ``rollout``, ``scale``, ``config``, ``node``."""

    time: float
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class WorkloadFact:
    """A top controller. ``desired`` is None where the kind has no number of replicas (CronJob, DaemonSet before scheduling).

    pod_labels  labels of the pod template: tells which Services point here even while there is not one pod
    """

    key: AppKey
    ref: ObjectRef
    labels: dict[str, str]
    annotations: dict[str, str]
    created: float
    desired: int | None = None
    available: int | None = None
    generation: int = 0
    observed_generation: int = 0
    rollout_in_progress: bool = False
    changes: tuple[Change, ...] = ()
    pod_labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodFact:
    namespace: str
    name: str
    uid: str
    node: str
    ips: tuple[str, ...]
    host_network: bool
    labels: dict[str, str]
    owner: AppKey  # the top controller, already resolved (ReplicaSet -> Deployment, Job -> CronJob); the pod itself if bare
    phase: str
    ready: bool
    created: float
    ready_since: float | None = None
    deleted: bool = False
    scheduled: bool = True
    unschedulable_message: str = ""
    version: str = ""  # pod-template-hash or controller-revision-hash: tells releases apart
    unready_since: float | None = None  # the Ready condition's last transition while it is not True; None: created
    containers: tuple[ContainerFact, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceFact:
    """``ports``: (service port, protocol). ``backends``: pod (namespace, name) behind it, ready or not, from EndpointSlices."""

    namespace: str
    name: str
    ips: tuple[str, ...]
    ports: tuple[tuple[int, str], ...]
    backends: tuple[tuple[str, str], ...] = ()
    backend_addresses: tuple[str, ...] = ()  # "ip:port"
    external_name: str = ""
    selector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeFact:
    name: str
    machine_id: str
    ips: tuple[str, ...]
    ready: bool
    cpu: float  # cores, allocatable
    memory: float  # bytes, allocatable
    zone: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    workloads: dict[AppKey, WorkloadFact] = field(default_factory=dict)
    pods: dict[tuple[str, str], PodFact] = field(default_factory=dict)  # by (namespace, name)
    services: dict[tuple[str, str], ServiceFact] = field(default_factory=dict)
    nodes: dict[str, NodeFact] = field(default_factory=dict)
