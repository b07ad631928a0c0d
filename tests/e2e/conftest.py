"""What every end-to-end test starts from: a throw-away API server, or a whole cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster.apiserver import ApiServer, api_server


@pytest.fixture(scope="session", name="api_server")
def _api_server() -> Iterator[ApiServer]:
    """A bare etcd and API server, empty at first, shared by the session: tests use namespaces of their own.

    Who needs one for himself opens `cluster.apiserver.api_server()`.
    """
    with api_server() as api:
        yield api
