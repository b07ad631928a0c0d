"""The operator's settings: environment variables that the chart sets. docs/operations.md lists them."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appstatus.cluster.agent import AgentSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class BadSetting(Exception):
    """An environment variable cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Config:
    """identity: of this process, unique even after a restart of the same pod. cluster: name shown in Events and metrics."""

    namespace: str
    identity: str
    agent: AgentSettings
    cluster: str = ""
    host: str = "0.0.0.0"
    port: int = 8080
    log_format: str = "json"
    log_level: str = "INFO"
    lease: str = "appstatus-operator"
    labels: dict[str, str] = field(default_factory=dict)


def from_environment(env: Mapping[str, str] = os.environ) -> Config:
    """Raises BadSetting."""
    namespace = env.get("POD_NAMESPACE") or _own_namespace() or "appstatus"
    host, _, port = env.get("APPSTATUS_LISTEN", "0.0.0.0:8080").rpartition(":")
    if not port.isdigit():
        raise BadSetting(f"APPSTATUS_LISTEN is {env['APPSTATUS_LISTEN']!r}; it must be ADDRESS:PORT")
    log_format = env.get("APPSTATUS_LOG_FORMAT", "json")
    if log_format not in ("json", "text"):
        raise BadSetting(f"APPSTATUS_LOG_FORMAT is {log_format!r}; it must be json or text")
    level = env.get("APPSTATUS_LOG_LEVEL", "info").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise BadSetting(f"APPSTATUS_LOG_LEVEL is {level.lower()!r}; it must be debug, info, warning or error")
    return Config(
        namespace=namespace,
        identity=f"{env.get('POD_NAME') or env.get('HOSTNAME') or 'operator'}_{uuid.uuid4().hex[:8]}",
        agent=AgentSettings(
            image=env.get("APPSTATUS_AGENT_IMAGE", ""),
            namespace=namespace,
            pull_policy=env.get("APPSTATUS_AGENT_IMAGE_PULL_POLICY", "IfNotPresent"),
            pull_secrets=_words(env.get("APPSTATUS_AGENT_IMAGE_PULL_SECRETS", "")),
            priority_class=env.get("APPSTATUS_AGENT_PRIORITY_CLASS", "system-node-critical"),
            service_account=env.get("APPSTATUS_AGENT_SERVICE_ACCOUNT", "appstatus-agent"),
            extra_capabilities=_words(env.get("APPSTATUS_AGENT_EXTRA_CAPABILITIES", "")),
        ),
        cluster=env.get("APPSTATUS_CLUSTER_NAME", ""),
        host=host.strip("[]"),
        port=int(port),
        log_format=log_format,
        log_level=level,
        lease=env.get("APPSTATUS_LEASE_NAME", "appstatus-operator"),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""
