"""What every end-to-end test starts from: a throw-away API server, or a whole cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import binaries, cluster, images
from cluster.apiserver import ApiServer, api_server, run_kubectl

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", name="api_server")
def _api_server() -> Iterator[ApiServer]:
    """A bare etcd and API server, empty at first, shared by the session: tests use namespaces of their own.

    Who needs one for himself opens `cluster.apiserver.api_server()`.
    """
    with api_server() as api:
        yield api


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The cluster under test: that of $KUBECONFIG, else the local one, which is started with all images and stays up."""
    given = os.environ.get("KUBECONFIG")
    if given:
        return Path(given)
    if os.geteuid() != 0:
        pytest.skip("no KUBECONFIG, and the local cluster needs root")
    found = cluster.up()
    images.build([])
    return found


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    """Runs kubectl on that cluster: `kubectl("get", "pods", stdin=None, check=True)`; a failure raises RuntimeError."""
    built = binaries.path("kubectl")
    binary = str(built) if built.exists() else shutil.which("kubectl") or str(binaries.ensure("kubectl")["kubectl"])

    def run(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run_kubectl(binary, kubeconfig, *arguments, stdin=stdin, check=check)

    return run
