"""An API server of one's own per module: the tests own its Projects, namespaces and clock."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from appstatus.crds import apply_crds
from appstatus.kube import Kube
from cluster.apiserver import ApiServer, api_server
from replica import ROOT

# The table of answers, also when only this folder is collected.
sys.path.append(str(ROOT / "tests" / "e2e" / "crds"))


@pytest.fixture(scope="module")
def own_api() -> Iterator[ApiServer]:
    with api_server() as api:
        assert apply_crds(Kube.connect(str(api.kubeconfig)), ROOT / "crds") == 0
        yield api


@pytest.fixture(scope="module")
def kube(own_api: ApiServer) -> Any:
    """As the administrator."""
    return Kube.connect(str(own_api.kubeconfig))
