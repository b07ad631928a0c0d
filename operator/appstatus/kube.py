"""The connection to the API server: JSON requests with a time-out, errors as values. Readers and writers share it.

The kubernetes package finds and refreshes the credentials (in a pod: the ServiceAccount's token; else KUBECONFIG); its typed models
would only copy every object once more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes import client, config
from yaml import YAMLError

from appstatus.api.names import GROUP, VERSION

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 500


class ApiError(Exception):
    """The API server answered with an error. ``retry_after`` in seconds where it names one."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500


class Unreachable(Exception):
    """No answer: whether the request had an effect is unknown."""


class NoCluster(Exception):
    """There is no usable kubeconfig and no ServiceAccount."""


class Kube:
    """Thread-safe."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.connection_pool_maxsize = 8
        configuration.retries = False
        self._configuration = configuration
        self._api = client.ApiClient(configuration)
        self.server = configuration.host

    @classmethod
    def connect(cls, kubeconfig: str | None = None) -> "Kube":
        """With a kubeconfig file if one is named, else as a pod, else as KUBECONFIG says. Raises NoCluster."""
        configuration = client.Configuration()
        try:
            if kubeconfig:
                if not Path(kubeconfig).is_file():
                    raise NoCluster(f"no such file: {kubeconfig}")
                config.load_kube_config(kubeconfig, client_configuration=configuration)
            else:
                try:
                    config.load_incluster_config(client_configuration=configuration)
                except config.ConfigException:
                    config.load_kube_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise NoCluster(str(error)) from error
        except (TypeError, ValueError, KeyError, AttributeError, YAMLError) as error:  # of a file that is no kubeconfig
            raise NoCluster(f"{kubeconfig or 'the kubeconfig'} is not a kubeconfig: {error}") from error
        return cls(configuration)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float = 10.0,
    ) -> Any:
        """The decoded answer. Raises ApiError or Unreachable. Never retried: a writer must know what it repeats."""
        headers = {"Accept": accept, "User-Agent": "appstatus-operator"}
        parameters: list[tuple[str, Any]] = list((query or {}).items())
        self._api.update_params_for_auth(headers, parameters, ["BearerToken"], path, method, body)
        if body is not None:
            headers["Content-Type"] = content_type
        url = self._configuration.host + path + (f"?{urlencode(parameters)}" if parameters else "")
        try:
            response = self._api.rest_client.pool_manager.request(
                method,
                url,
                headers=headers,
                body=None if body is None else orjson.dumps(body),
                timeout=urllib3.Timeout(total=timeout),
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{method} {path}: {error}") from error
        if response.status >= 400:
            raise _error(response)
        return orjson.loads(response.data) if response.data else None

    def list(
        self, path: str, *, query: dict[str, Any] | None = None, metadata_only: bool = False, timeout: float = 30.0
    ) -> Iterator[Any]:
        """All objects, page by page. Raises ApiError or Unreachable."""
        accept = METADATA_ONLY if metadata_only else JSON
        parameters = {**(query or {}), "limit": PAGE}
        while True:
            page = self.request("GET", path, query=parameters, accept=accept, timeout=timeout)
            yield from page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            parameters["continue"] = following


def _error(response: urllib3.BaseHTTPResponse) -> ApiError:
    try:
        status = orjson.loads(response.data)
    except orjson.JSONDecodeError:
        status = {}
    if not isinstance(status, dict):
        status = {}
    after = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        str(status.get("reason") or response.reason or ""),
        str(status.get("message") or response.data[:200].decode(errors="replace")),
        float(after) if after.isdigit() else None,
    )


def path(group_version: str, plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """URL path of an object or a collection; ``group_version`` as in apiVersion."""
    parts = ["api" if "/" not in group_version else "apis", group_version]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part]
    return "/" + "/".join(parts)


def own_path(plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The same for one of the project's own kinds."""
    return path(f"{GROUP}/{VERSION}", plural, namespace, name, subresource)
