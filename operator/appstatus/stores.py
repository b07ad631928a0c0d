"""The metrics stores that the Projects name: connection, ring matrices, history of the SLOs. Projects with one store share it."""

import logging
import shutil
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from appstatus.api.names import AppKey
from appstatus.api.objective import Objective
from appstatus.api.project import Project, PrometheusSpec
from appstatus.backfill import Backfill
from appstatus.kube import ApiError, Kube, Unreachable, path
from appstatus.model.series import F64
from appstatus.model.world import World
from appstatus.slo.ledger import Ledger
from appstatus.slo.sli import Events, rates
from appstatus.sources.prometheus import Prometheus
from appstatus.sources.promhttp import Endpoint
from appstatus.sources.promql import PromQL, Rates

log = logging.getLogger(__name__)

# How often the Secrets are read again, seconds: a rotated password is in use after this at the latest.
REFRESH = 60.0


class NoEndpoint(Exception):
    """The connection cannot be set up; the message is for the Project's condition."""


@dataclass(slots=True)
class Store:
    """Everything that belongs to one endpoint at one step."""

    prometheus: Prometheus
    promql: PromQL
    ledger: Ledger
    backfill: Backfill
    projects: list[Project] = field(default_factory=list)

    @classmethod
    def open(cls, endpoint: Endpoint, step: float, now: float) -> "Store":
        prometheus = Prometheus(endpoint, step)
        promql = PromQL(endpoint, step, prometheus.columns)
        ledger = Ledger(step, now)
        return cls(prometheus, promql, ledger, Backfill(prometheus, promql, ledger))

    def reconnect(self, endpoint: Endpoint) -> None:
        """Other credentials for the same data: what has been read and counted stays."""
        self.prometheus.connection.use(endpoint)
        self.promql.reconnect(endpoint)

    def close(self) -> None:
        self.backfill.close()
        self.promql.close()
        self.prometheus.close()

    def enter(self, world: World, objectives: list[Objective]) -> dict[tuple[AppKey, str], tuple[str, str]]:
        """Feeds the ledger with the cycle's world; returns the promql objectives whose queries are wrong: (reason, message)."""
        self.promql.want(objectives, world.now)
        found, problems = self.promql.take()
        promql = {key: _events(parts, world.times, world.step) for key, parts in found.items()}
        self.ledger.update(world, objectives, promql)
        if self.prometheus.filled and not world.missing:
            self.backfill.tick(objectives, world)
        return problems


@dataclass(frozen=True, slots=True)
class Assigned:
    """stores in use, each with its Projects; problems: the Projects that have none, and why; notes: the Projects whose credentials
    cannot be read at present, so that the last ones stay in use, and why."""

    stores: list[Store]
    problems: dict[str, str]
    notes: dict[str, str]


class Stores:
    """Opens and closes stores as Projects come, change and go. Not thread-safe."""

    def __init__(self, kube: Kube, namespace: str, opener: Callable[[Endpoint, float, float], Store] = Store.open) -> None:
        self._kube = kube
        self._namespace = namespace
        self._opener = opener
        self._stores: dict[tuple[Endpoint, float], Store] = {}
        self._endpoints: dict[str, tuple[PrometheusSpec, Endpoint, float]] = {}  # by Project: made from, result, when (monotonic)
        self._folder: Path | None = None

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def open(self) -> list[Store]:
        return list(self._stores.values())

    def assign(self, projects: Iterable[Project], now: float) -> Assigned:
        wanted: dict[tuple[Endpoint, float], list[Project]] = {}
        problems: dict[str, str] = {}
        notes: dict[str, str] = {}
        for project in projects:
            try:
                endpoint, note = self._endpoint(project)
            except NoEndpoint as error:
                problems[project.meta.name] = str(error)
                continue
            if note:
                notes[project.meta.name] = note
            wanted.setdefault((endpoint, project.prometheus.step), []).append(project)
        for key in [key for key in self._stores if key not in wanted]:
            self._retire(key, wanted)
        for key, members in wanted.items():
            if key not in self._stores:
                self._stores[key] = self._opener(*key, now)
            self._stores[key].projects = members
        return Assigned([self._stores[key] for key in wanted], problems, notes)

    def _retire(self, key: tuple[Endpoint, float], wanted: dict[tuple[Endpoint, float], list[Project]]) -> None:
        """A store that nobody names any more is closed, unless its Projects only changed their credentials."""
        store = self._stores.pop(key)
        names = {project.meta.name for project in store.projects}
        for heir, members in wanted.items():
            if heir not in self._stores and _same_data(key, heir) and names & {project.meta.name for project in members}:
                store.reconnect(heir[0])
                self._stores[heir] = store
                return
        store.close()

    def _endpoint(self, project: Project) -> tuple[Endpoint, str]:
        """The endpoint, and why it is the last known one if its Secrets cannot be read now. Raises NoEndpoint."""
        spec, name = project.prometheus, project.meta.name
        known = self._endpoints.get(name)
        now = time.monotonic()
        if known is not None and known[0] == spec and now - known[2] < REFRESH:
            return known[1], ""
        try:
            endpoint = self._connect(spec, name)
        except NoEndpoint as error:
            if known is not None and known[0] == spec:
                # Whatever the reason, the books are worth more than the certainty that the credentials still hold: if they do
                # not, Prometheus refuses them.
                return known[1], f"the last credentials stay in use: {error}"
            raise
        self._endpoints[name] = (spec, endpoint, now)
        return endpoint, ""

    def _connect(self, spec: PrometheusSpec, project: str) -> Endpoint:
        auth = self._secret(spec.auth_secret) if spec.auth_secret else {}
        tls = self._secret(spec.tls_secret) if spec.tls_secret else {}
        if spec.auth_secret and not ("token" in auth or {"username", "password"} <= auth.keys()):
            raise NoEndpoint(f"Secret {self._namespace}/{spec.auth_secret} has neither token nor username and password")
        if spec.tls_secret and "ca.crt" not in tls and "tls.crt" not in tls:
            raise NoEndpoint(f"Secret {self._namespace}/{spec.tls_secret} has neither ca.crt nor tls.crt")
        files = {name: self._file(project, name, tls[name]) for name in ("ca.crt", "tls.crt", "tls.key") if name in tls}
        return Endpoint(
            url=spec.url,
            username=auth.get("username", "") if "token" not in auth else "",
            password=auth.get("password", "") if "token" not in auth else "",
            bearer=auth.get("token", "").strip(),
            ca=files.get("ca.crt", ""),
            cert=files.get("tls.crt", ""),
            key=files.get("tls.key", ""),
            verify=not spec.insecure_skip_verify,
            headers=tuple(sorted(spec.headers.items())),
        )

    def _secret(self, name: str) -> dict[str, str]:
        try:
            raw: dict[str, Any] = self._kube.request("GET", path("v1", "secrets", self._namespace, name), timeout=5.0)
        except ApiError as error:
            what = "does not exist" if error.status == 404 else f"cannot be read: {error.message}"
            raise NoEndpoint(f"Secret {self._namespace}/{name} {what}") from error
        except Unreachable as error:
            raise NoEndpoint(f"Secret {self._namespace}/{name} could not be read: {error}") from error
        return {key: b64decode(value).decode(errors="replace") for key, value in (raw.get("data") or {}).items()}

    def _file(self, project: str, name: str, content: str) -> str:
        """TLS material goes through files. The name tells the content, so that a rotated certificate is another endpoint."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="appstatus-tls-"))
        target = self._folder / f"{project}-{abs(hash(content)):x}-{name}"
        if not target.exists():
            target.touch(mode=0o600)
            target.write_text(content)
        return str(target)


def _same_data(one: tuple[Endpoint, float], other: tuple[Endpoint, float]) -> bool:
    """Headers may name a tenant, whose data is another's."""
    return (one[0].url, one[0].headers, one[1]) == (other[0].url, other[0].headers, other[1])


def _events(parts: list[Rates], times: F64, step: float) -> Events:
    """Rates on their own columns as events on the world's times; NaN where nothing new is known."""
    good, total = np.full(len(times), np.nan), np.full(len(times), np.nan)
    start = round(float(times[0]) / step)
    for part in parts:
        found = rates(part.good, part.bad, part.total, step)
        at = part.first - start
        low, high = max(at, 0), min(at + len(part.total), len(times))
        if low < high:
            good[low:high] = found.good[low - at : high - at]
            total[low:high] = found.total[low - at : high - at]
    return Events(good, total)
