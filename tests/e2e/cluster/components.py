"""The table of daemons: command line and readiness of each. {placeholders} are filled from `Settings`."""

from __future__ import annotations

import dataclasses
import http.client
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .pki import Authority


@dataclass(frozen=True)
class Settings:
    """What differs between the one cluster of a machine and a throw-away API server."""

    name: str  # whose the processes are
    run: Path  # configuration, certificates, etcd's data, logs
    address: str  # of the API server and the node
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    service_network: str = "10.232.0.0/16"
    pod_network: str = "10.231.0.0/24"
    dns_address: str = "10.232.0.10"
    node: str = "node-1"
    containerd_socket: str = "/run/appstatus-cluster/containerd.sock"
    kubelet_root: str = "/var/lib/kubelet"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    def log(self, component: str) -> Path:
        return self.run / "logs" / f"{component}.log"

    def fill(self, text: str) -> str:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return text.format(**values, pki=self.pki, url=self.url)


@dataclass(frozen=True)
class Component:
    name: str
    arguments: tuple[str, ...]
    ready: str  # URL that answers 200 when it is ready


ETCD = Component(
    "etcd",
    (
        "--data-dir={run}/etcd",
        "--listen-client-urls=https://127.0.0.1:{etcd_port}",
        "--advertise-client-urls=https://127.0.0.1:{etcd_port}",
        "--listen-peer-urls=http://127.0.0.1:{etcd_peer_port}",
        "--initial-advertise-peer-urls=http://127.0.0.1:{etcd_peer_port}",
        "--initial-cluster=default=http://127.0.0.1:{etcd_peer_port}",
        "--cert-file={pki}/etcd.crt",
        "--key-file={pki}/etcd.key",
        "--trusted-ca-file={pki}/ca.crt",
        "--client-cert-auth",
        "--unsafe-no-fsync",  # every cluster starts empty, so nothing is lost with the machine
        "--log-level=warn",
    ),
    "https://127.0.0.1:{etcd_port}/readyz",
)
API_SERVER = Component(
    "kube-apiserver",
    (
        "--etcd-servers=https://127.0.0.1:{etcd_port}",
        "--etcd-cafile={pki}/ca.crt",
        "--etcd-certfile={pki}/etcd.crt",
        "--etcd-keyfile={pki}/etcd.key",
        "--bind-address={address}",
        "--advertise-address={address}",
        "--secure-port={api_port}",
        "--tls-cert-file={pki}/apiserver.crt",
        "--tls-private-key-file={pki}/apiserver.key",
        "--client-ca-file={pki}/ca.crt",
        "--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        "--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",  # the node's name is in no DNS
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--service-cluster-ip-range={service_network}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-account-key-file={pki}/service-account.pub",
        "--service-account-signing-key-file={pki}/service-account.key",
        "--profiling=false",
    ),
    "{url}/readyz",
)
CONTAINERD = Component(
    "containerd",
    ("--config={run}/config/containerd.toml",),
    "",  # asked through its socket, see containers.py
)
CONTROLLER_MANAGER = Component(
    "kube-controller-manager",
    (
        "--kubeconfig={run}/config/kube-controller-manager.kubeconfig",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials",  # each controller with its own rights
        "--service-account-private-key-file={pki}/service-account.key",
        "--root-ca-file={pki}/ca.crt",
        "--cluster-signing-cert-file={pki}/ca.crt",
        "--cluster-signing-key-file={pki}/ca.key",
        "--profiling=false",
    ),
    "https://127.0.0.1:10257/healthz",
)
SCHEDULER = Component(
    "kube-scheduler",
    (
        "--kubeconfig={run}/config/kube-scheduler.kubeconfig",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
    ),
    "https://127.0.0.1:10259/healthz",
)
KUBELET = Component(
    "kubelet",
    (
        "--config={run}/config/kubelet.json",
        "--kubeconfig={run}/config/kubelet.kubeconfig",
        "--root-dir={kubelet_root}",
        "--hostname-override={node}",
        "--node-ip={address}",
    ),
    "http://127.0.0.1:10248/healthz",
)
KUBE_PROXY = Component("kube-proxy", ("--config={run}/config/kube-proxy.json",), "http://127.0.0.1:10256/livez")

# In the order of their start. The first three need nothing but the machine, the others the API server.
CLUSTER = (CONTAINERD, ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, KUBELET, KUBE_PROXY)


def launch(component: Component, binary: Path, settings: Settings, *more: str, prefix: tuple[str, ...] = ()) -> Started:
    """Starts a component; `more` are further flags, `prefix` a command that runs it."""
    command = [*prefix, str(binary), *map(settings.fill, component.arguments), *more]
    mark = f"{settings.name}/{component.name}"
    return Started(component, settings, processes.start(mark, command, settings.log(component.name)))


@dataclass(frozen=True)
class Started:
    component: Component
    settings: Settings
    process: subprocess.Popen[bytes]

    def wait_ready(self, seconds: float) -> None:
        """Polls the readiness URL as the cluster's administrator. Raises StartError when it ends or time is up."""
        name, log = self.component.name, self.settings.log(self.component.name)
        deadline = time.monotonic() + seconds
        answer = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise processes.StartError(
                    f"{name} ended with code {self.process.returncode}; log: {log}\n{processes.log_tail(log)}"
                )
            answer = probe(self.settings.fill(self.component.ready), self.settings.pki)
            if not answer:
                return
            time.sleep(0.1)
        raise processes.StartError(f"{name} is not ready after {seconds:.0f} s ({answer}); log: {log}\n{processes.log_tail(log)}")


def probe(url: str, pki: Path) -> str:
    """Empty if `url` answers 200, else what it said."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt")) if url.startswith("https:") else None
    if context:
        context.check_hostname = False  # controller manager and scheduler sign their own
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(url, timeout=2):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}: {error.read()[:300].decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def prepare_api_server(settings: Settings) -> Path:
    """Makes the certificates that etcd and the API server need; returns the administrator's kubeconfig."""
    authority = Authority(settings.pki)
    service = settings.service_network.rsplit(".", 1)[0] + ".1"
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    authority.sign("etcd", "etcd", hosts=("127.0.0.1", "localhost"))
    authority.sign("apiserver", "kube-apiserver", hosts=(settings.address, "127.0.0.1", "localhost", service, *names))
    authority.sign("apiserver-kubelet-client", "kube-apiserver-kubelet-client")
    authority.sign("admin", "admin", groups=("system:masters",))
    authority.key_pair("service-account")
    return authority.kubeconfig(settings.run / "kubeconfig", settings.url, "admin")
