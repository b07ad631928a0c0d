"""Names that every layer shares."""

from typing import NamedTuple

GROUP = "appstatus.dev"
VERSION = "v1alpha1"


class AppKey(NamedTuple):
    """An application: the top controller of its pods, or a bare Pod, or a peer outside the cluster.

    ``kind`` is the Kubernetes kind (``Deployment``, ``StatefulSet``, ``DaemonSet``, ``CronJob``, ``Job``, ``Pod``, any custom
    controller), or ``ExternalService`` with an empty namespace and ``name`` = FQDN:port or IP:port.
    """

    namespace: str
    kind: str
    name: str

    @property
    def status_name(self) -> str:
        """Name of the AppStatus object: ``checkout.deployment``."""
        return f"{self.name}.{self.kind.lower()}"

    @property
    def is_external(self) -> bool:
        return self.kind == EXTERNAL

    def __str__(self) -> str:
        return f"{self.namespace}/{self.status_name}" if self.namespace else self.name


EXTERNAL = "ExternalService"


class ObjectRef(NamedTuple):
    """A Kubernetes object as Events and owner references name it."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
