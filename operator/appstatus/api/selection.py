"""Which applications or namespaces are meant: by reference, by labels, by name patterns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from appstatus.api.fields import Fields
from appstatus.api.names import AppKey, ObjectRef


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in glob), re.DOTALL)


def matches(glob: str, text: str) -> bool:
    """``*`` is any text, ``?`` one character, everything else itself."""
    return _pattern(glob).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _patterns(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_pattern(glob).pattern})" for glob in globs), re.DOTALL)


def matches_any(globs: tuple[str, ...], text: str) -> bool:
    return bool(globs) and _patterns(globs).fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...]

    def __str__(self) -> str:
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        forms = {"In": "{} in ({})", "NotIn": "{} not in ({})", "Exists": "{}", "DoesNotExist": "!{}"}
        return forms[self.operator].format(self.key, ", ".join(self.values))

    def holds(self, labels: Mapping[str, str]) -> bool:
        """As for Kubernetes label selectors: NotIn also holds where the label is missing."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; an empty selector matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(r.holds(labels) for r in self.requirements)

    def __str__(self) -> str:
        return ", ".join(str(r) for r in self.requirements)


class Workload(Protocol):
    """What selection and policy need of an application; ``model.facts.WorkloadFact`` and ``model.world.Application`` have it."""

    @property
    def key(self) -> AppKey: ...
    @property
    def ref(self) -> ObjectRef | None: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def annotations(self) -> dict[str, str]: ...
    @property
    def created(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class TargetRef:
    """``api_version`` is empty where the kind is unambiguous."""

    kind: str
    name: str
    api_version: str = ""

    def matches(self, workload: Workload) -> bool:
        if (self.kind, self.name) != (workload.key.kind, workload.key.name):
            return False
        # Versions of one API group are the same objects.
        known = workload.ref.api_version if workload.ref is not None else ""
        return not self.api_version or not known or self.api_version.split("/")[0] == known.split("/")[0]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """Applications of one namespace: the one named, those with the labels, or (neither) all of them."""

    namespace: str
    ref: TargetRef | None = None
    selector: Selector | None = None

    def __str__(self) -> str:
        if self.ref is not None:
            return str(self.ref)
        return f"selector {self.selector}" if self.selector is not None else f"namespace {self.namespace}"


class Directory:
    """The workloads that can be judged (external services have no namespace). Finding one by name is a look-up."""

    def __init__(self, workloads: Iterable[Workload]) -> None:
        self.all = [w for w in workloads if w.key.namespace and not w.key.is_external]
        self._of_namespace: dict[str, list[Workload]] = {}
        self._of_name: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in self.all:
            self._of_namespace.setdefault(workload.key.namespace, []).append(workload)
            self._of_name.setdefault(workload.key, []).append(workload)

    def find(self, target: Target) -> list[AppKey]:
        """The applications that are meant, in order."""
        if target.ref is not None:
            named = self._of_name.get((target.namespace, target.ref.kind, target.ref.name), ())
            return [w.key for w in named if target.ref.matches(w)]
        found = self._of_namespace.get(target.namespace, ())
        return sorted(w.key for w in found if target.selector is None or target.selector.matches(w.labels))


def parse_selector(fields: Fields) -> Selector:
    """matchLabels and matchExpressions."""
    found = [Requirement(k, "In", (v,)) for k, v in fields.mapping("matchLabels").items()]
    for part in fields.parts("matchExpressions"):
        operator = part.choice("operator", ("In", "NotIn", "Exists", "DoesNotExist"), "Exists")
        values = part.strings("values")
        if (operator in ("In", "NotIn")) != bool(values):
            part.problem("values", f"do not fit operator {operator}: In and NotIn need values, Exists and DoesNotExist take none")
        found.append(Requirement(part.required("key"), operator, values))
    return Selector(tuple(found))


def parse_target(spec: Fields, namespace: str, needed: bool) -> Target:
    """targetRef or selector; ``needed``: exactly one of them, else at most one."""
    has_ref, has_selector = "targetRef" in spec, "selector" in spec
    if has_ref and has_selector:
        spec.problem("", "has both targetRef and selector; only one of them is allowed")
    if needed and not has_ref and not has_selector:
        spec.problem("", "has neither targetRef nor selector; one of them must name the application")
    if has_ref:
        part = spec.part("targetRef")
        return Target(namespace, ref=TargetRef(part.required("kind"), part.required("name"), part.string("apiVersion")))
    return Target(namespace, selector=parse_selector(spec.part("selector")) if has_selector else None)
