"""The Project as the operator takes it: every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from appstatus.api.fields import Fields, Problem
from appstatus.api.meta import Meta, parse_meta
from appstatus.api.selection import Selector, matches_any, parse_selector

EventScope = Literal["All", "Page", "None"]
EVENT_SCOPES: tuple[str, ...] = ("All", "Page", "None")

DAY = 86400.0
DEFAULT_WINDOW = 30 * DAY
MIN_WINDOW, MAX_WINDOW = 3600.0, 90 * DAY
MIN_THRESHOLD, MAX_THRESHOLD = 0.001, 30.0
RESERVED_HEADERS = frozenset({"authorization", "host", "content-type", "content-length", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class NamespaceScope:
    """Empty ``include`` and absent ``selector`` mean all namespaces."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selector: Selector | None = None

    def matches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return (
            (not self.include or matches_any(self.include, namespace))
            and not matches_any(self.exclude, namespace)
            and (self.selector is None or self.selector.matches(labels))
        )


@dataclass(frozen=True, slots=True)
class PrometheusSpec:
    """``auth_secret`` (username and password, or token) and ``tls_secret`` (ca.crt, tls.crt, tls.key) are names of Secrets in the
    operator's own namespace, empty without one. ``step`` is seconds."""

    url: str
    step: float = 15.0
    auth_secret: str = ""
    tls_secret: str = ""
    insecure_skip_verify: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DefaultSLO:
    """``ratio`` is a fraction, ``window`` and ``threshold`` are seconds."""

    enabled: bool
    ratio: float
    window: float
    events: EventScope
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class CheckSetting:
    """What a Project or InspectionOverride says of one check; ``threshold`` in the check's unit, None for unchanged."""

    id: str
    threshold: float | None = None
    disabled: bool = False
    locked: bool = False

    @property
    def wish(self) -> str:
        """``off`` or the threshold."""
        return "off" if self.disabled else f"{self.threshold:g}"

    def __str__(self) -> str:
        return f"{self.id}={self.wish}"


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    applications: tuple[str, ...]  # patterns of namespace/name


@dataclass(frozen=True, slots=True)
class CustomApplication:
    namespace: str
    name: str
    instances: tuple[str, ...]  # patterns of pod names


@dataclass(frozen=True, slots=True)
class NodeAgentSpec:
    """``resources``, ``tolerations`` and ``node_selector`` as a pod template has them; None where the Project says nothing."""

    enabled: bool = True
    resources: dict[str, Any] | None = None
    tolerations: tuple[dict[str, Any], ...] | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    max_unavailable: int | str = "10%"


@dataclass(frozen=True, slots=True)
class Project:
    meta: Meta
    prometheus: PrometheusSpec
    namespaces: NamespaceScope
    availability: DefaultSLO
    latency: DefaultSLO
    inspections: tuple[CheckSetting, ...]
    categories: tuple[Category, ...]
    custom_applications: tuple[CustomApplication, ...]
    promql_namespaces: tuple[str, ...]
    affected_events: Literal["Normal", "Warning"]
    node_agent: NodeAgentSpec
    problems: tuple[Problem, ...] = ()


def parse_project(body: Mapping[str, Any]) -> Project:
    """A Project from the API server or a file; what is wrong with it is in ``problems``."""
    problems: list[Problem] = []
    spec = Fields(body.get("spec"), "spec", problems)
    slos = spec.part("defaults").part("slos")
    return Project(
        meta=parse_meta(body, "Project"),
        prometheus=_prometheus(spec.part("prometheus")),
        namespaces=_namespaces(spec.part("namespaces")),
        availability=_default_slo(slos.part("availability"), "Page"),
        latency=_default_slo(slos.part("latency"), "None", threshold=0.5),
        inspections=parse_checks(spec.part("defaults")),
        categories=tuple(Category(c.required("name"), c.strings("applications")) for c in spec.parts("categories")),
        custom_applications=tuple(
            CustomApplication(c.required("namespace"), c.required("name"), c.strings("instances"))
            for c in spec.parts("customApplications")
        ),
        promql_namespaces=spec.part("promql").strings("namespaces"),
        affected_events=spec.part("incidents").choice("affectedEvents", ("Normal", "Warning"), "Normal"),  # type: ignore[arg-type]
        node_agent=_node_agent(spec.part("nodeAgent")),
        problems=tuple(problems),
    )


def parse_checks(parent: Fields) -> tuple[CheckSetting, ...]:
    """The list ``inspections`` of a Project's defaults or of an InspectionOverride."""
    found: list[CheckSetting] = []
    for part in parent.parts("inspections"):
        setting = CheckSetting(
            id=part.required("id"),
            threshold=part.decimal("threshold", None),
            disabled=part.boolean("disabled", False),
            locked=part.boolean("locked", False),
        )
        if any(setting.id == other.id for other in found):
            part.problem("id", f"{setting.id} is there twice; the first entry counts")
        else:
            found.append(setting)
    return tuple(found)


def _prometheus(part: Fields) -> PrometheusSpec:
    url = part.required("url").rstrip("/")
    if url and not url.startswith(("http://", "https://")):
        part.problem("url", f'is "{url}"; it must be an http:// or https:// URL')
    headers = part.mapping("headers")
    for name in headers:
        if name.lower() in RESERVED_HEADERS:
            part.problem(f"headers.{name}", "is set by appstatus itself (credentials go into auth.secretRef)")
    return PrometheusSpec(
        url=url,
        step=part.duration("step", 15.0, 5.0, 120.0),
        auth_secret=part.part("auth").part("secretRef").string("name"),
        tls_secret=part.part("tls").part("secretRef").string("name"),
        insecure_skip_verify=part.part("tls").boolean("insecureSkipVerify", False),
        headers=headers,
    )


def _namespaces(part: Fields) -> NamespaceScope:
    selector = parse_selector(part.part("selector")) if "selector" in part else None
    return NamespaceScope(part.strings("include"), part.strings("exclude"), selector)


def _default_slo(part: Fields, events: EventScope, threshold: float | None = None) -> DefaultSLO:
    return DefaultSLO(
        enabled=part.boolean("enabled", True),
        ratio=part.objective("objective", 0.99),
        window=part.duration("window", DEFAULT_WINDOW, MIN_WINDOW, MAX_WINDOW),
        events=part.choice("events", EVENT_SCOPES, events),  # type: ignore[arg-type]
        threshold=None if threshold is None else part.duration("threshold", threshold, MIN_THRESHOLD, MAX_THRESHOLD),
    )


def _node_agent(part: Fields) -> NodeAgentSpec:
    limit = part.data.get("maxUnavailable", "10%")
    return NodeAgentSpec(
        enabled=part.boolean("enabled", True),
        resources=dict(part.part("resources").data) if "resources" in part else None,
        tolerations=tuple(dict(t.data) for t in part.parts("tolerations")) if "tolerations" in part else None,
        node_selector=part.mapping("nodeSelector"),
        max_unavailable=limit if isinstance(limit, int | str) else "10%",
    )
