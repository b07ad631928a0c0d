"""How applications are grouped and named: what a Project may say about it, and what holds without one."""

from typing import Protocol

from appstatus.api.names import AppKey


class Grouping(Protocol):
    def category(self, app: AppKey, annotations: dict[str, str]) -> str:
        """Category of an application, never empty."""

    def custom_application(self, namespace: str, instance: str) -> str | None:
        """Name of the custom application that an instance belongs to, or None."""


class NoGrouping:
    """Every application is what its controller is; namespaces of the control plane are known by name."""

    def category(self, app: AppKey, annotations: dict[str, str]) -> str:
        named = annotations.get("appstatus.dev/category")
        if named:
            return named
        if app.is_external:
            return "external"
        return "control-plane" if not app.namespace or app.namespace.startswith("kube-") else "application"

    def custom_application(self, namespace: str, instance: str) -> str | None:
        return None
