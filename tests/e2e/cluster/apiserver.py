"""A throw-away etcd and API server for tests of CRDs, RBAC and writes: no node, no controllers, seconds to start.

    with api_server() as api:
        api.kubectl("apply", "-f", "crds/")

Several may run at once; each has its own folder, ports and certificates, and ends with the `with` block, or with the
process that opened it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import binaries, components, processes
from .pki import Authority

# Nothing here fills ServiceAccounts in (that is the controller manager's work), and no node has to find the API server.
_BARE = ("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
_READY_SECONDS = 90  # about 4 s on an idle machine


@dataclass(frozen=True)
class ApiServer:
    kubeconfig: Path  # of the administrator
    url: str
    settings: components.Settings
    kubectl_binary: Path

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the administrator, or as whom `kubeconfig` says. With `check` a failure raises."""
        return run_kubectl(self.kubectl_binary, kubeconfig or self.kubeconfig, *arguments, stdin=stdin, check=check)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig of another user, to see what RBAC grants it."""
        name = user.replace(":", "-")
        authority = Authority(self.settings.pki)
        authority.sign(name, user, groups)
        return authority.kubeconfig(self.settings.run / f"{name}.kubeconfig", self.url, name)


def run_kubectl(
    binary: Path | str, kubeconfig: Path, *arguments: str, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(binary), "--kubeconfig", str(kubeconfig), *arguments], input=stdin, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done


@contextlib.contextmanager
def api_server(*flags: str) -> Iterator[ApiServer]:
    """Starts etcd and an API server (with further `flags`) and yields it when it is ready. Raises StartError."""
    paths = binaries.ensure(*binaries.API_SERVER)
    directory = Path(tempfile.mkdtemp(prefix="appstatus-apiserver-"))
    started: list[components.Started] = []
    try:
        ports = _free_ports(3)
        settings = components.Settings(directory.name, directory, "127.0.0.1", *ports)
        kubeconfig = components.prepare_api_server(settings)
        # The kernel ends them when the test process dies, even by SIGKILL.
        prefix = ("setpriv", "--pdeathsig", "KILL")
        for component, more in ((components.ETCD, ()), (components.API_SERVER, (*_BARE, *flags))):
            started.append(components.launch(component, paths[component.name], settings, *more, prefix=prefix))
        for daemon in started:
            daemon.wait_ready(_READY_SECONDS)
        yield ApiServer(kubeconfig, settings.url, settings, paths["kubectl"])
    finally:
        for daemon in reversed(started):
            daemon.process.kill()
            daemon.process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def serve() -> None:
    """`make apiserver`: one in the foreground, until Ctrl-C."""
    with api_server() as api, contextlib.suppress(KeyboardInterrupt):
        print(f"API server {api.url} is ready; Ctrl-C removes it", file=sys.stderr)
        print(api.kubeconfig, flush=True)
        while True:
            for component in (components.ETCD, components.API_SERVER):
                if components.probe(api.settings.fill(component.ready), api.settings.pki):
                    raise processes.StartError(f"{component.name} stopped answering: {api.settings.log(component.name)}")
            time.sleep(5)
