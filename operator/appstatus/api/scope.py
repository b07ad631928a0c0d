"""What the Projects say about where to look: whose a namespace is, an application's category, custom applications."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from appstatus.api.conditions import Condition, accepted, invalid, refused
from appstatus.api.names import AppKey
from appstatus.api.project import Project
from appstatus.api.selection import matches, matches_any

PREFIX = "appstatus.dev/"
CATEGORY_ANNOTATION = PREFIX + "category"
NAME_ANNOTATION = PREFIX + "name"

# (category, patterns of namespace/name, kinds), first match wins; the rest is "application".
BUILT_IN: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...] = (
    ("batch", (), frozenset({"CronJob", "Job"})),
    (
        "infrastructure",
        ("kube-*/*", "istio-*/*", "linkerd*/*", "cert-manager/*", "argocd/*", "flux-system/*", "monitoring/*", "appstatus/*"),
        frozenset(),
    ),
    (
        "database",
        tuple(
            f"*/{form}"
            for name in ("postgres", "postgresql", "mysql", "mariadb", "redis", "valkey", "mongodb", "mongo", "memcached", "kafka",
                         "elasticsearch", "opensearch", "cassandra", "clickhouse", "rabbitmq", "etcd")
            for form in (name, f"{name}-*", f"*-{name}", f"*-{name}-*")
        ),
        frozenset(),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProjectVerdict:
    """``namespaces``: those that it judges. ``conditions``: what the spec alone decides; the roll-out and Prometheus come later."""

    project: Project
    accepted: bool
    namespaces: frozenset[str]
    owns_agent: bool
    agent_owner: str
    conditions: tuple[Condition, ...]


class Scope:
    """Answers for the model: categories and custom applications (``model.grouping.Grouping``), and whose a namespace is."""

    def __init__(self, projects: Iterable[Project], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        """``namespaces``: labels of every namespace, by name."""
        ordered = sorted(projects, key=lambda p: p.meta.age_order)
        self._judge: dict[str, Project] = {}
        self.projects: dict[str, ProjectVerdict] = {}
        agent_owner = next((p.meta.name for p in ordered if not p.problems and p.node_agent.enabled), "")
        for project in ordered:
            self.projects[project.meta.name] = self._claim(project, namespaces, agent_owner)

    def _claim(self, project: Project, namespaces: Mapping[str, Mapping[str, str]], agent_owner: str) -> ProjectVerdict:
        name = project.meta.name
        if project.problems:
            return ProjectVerdict(project, False, frozenset(), False, agent_owner, invalid(project.problems))
        wanted = [n for n, labels in sorted(namespaces.items()) if project.namespaces.matches(n, labels)]
        taken = {n: self._judge[n].meta.name for n in wanted if n in self._judge}
        mine = frozenset(wanted) - taken.keys()
        for namespace in mine:
            self._judge[namespace] = project
        claim = _claim_condition(taken)
        ok = bool(mine) or not taken
        verdict = accepted() if ok else refused("NamespaceConflict", claim.message)
        return ProjectVerdict(project, ok, mine, agent_owner == name, agent_owner, (*verdict, claim))

    def project_of(self, namespace: str) -> Project | None:
        """The Project that judges a namespace; None: it is left out, and its workloads are only part of the model."""
        return self._judge.get(namespace)

    def category(self, app: AppKey, annotations: Mapping[str, str]) -> str:
        """Of the annotation, else of the Projects (the one that judges the namespace first), else by the built-in table."""
        named = annotations.get(CATEGORY_ANNOTATION)
        if named:
            return named
        if app.is_external:
            return "external"
        path = f"{app.namespace}/{app.name}"
        for project in self._in_order(app.namespace):
            for category in project.categories:
                if matches_any(category.applications, path):
                    return category.name
        if not app.namespace:
            return "infrastructure"
        for name, patterns, kinds in BUILT_IN:
            if app.kind in kinds or matches_any(patterns, path):
                return name
        return "application"

    def custom_application(self, namespace: str, instance: str) -> str | None:
        """Name of the custom application that a pod belongs to, or None."""
        for project in self._in_order(namespace):
            for custom in project.custom_applications:
                if custom.namespace == namespace and any(matches(glob, instance) for glob in custom.instances):
                    return custom.name
        return None

    def has_custom_application(self, namespace: str, name: str) -> bool:
        return any(
            custom.namespace == namespace and custom.name == name
            for project in self._in_order(namespace)
            for custom in project.custom_applications
        )

    def _in_order(self, namespace: str) -> list[Project]:
        judge = self._judge.get(namespace)
        others = [v.project for v in self.projects.values() if v.accepted and v.project is not judge]
        return ([judge] if judge else []) + others


def _claim_condition(taken: Mapping[str, str]) -> Condition:
    if not taken:
        return Condition("NamespacesClaimed", True, "NoConflict", "no other Project claims one of the namespaces")
    shown = ", ".join(f"{n} (by {p})" for n, p in list(taken.items())[:10])
    more = f" and {len(taken) - 10} more" if len(taken) > 10 else ""
    message = f"an older Project already judges: {shown}{more}; exclude them in one of the two"
    return Condition("NamespacesClaimed", False, "ClaimedByOtherProject", message)
