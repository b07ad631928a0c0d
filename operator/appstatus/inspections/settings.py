"""What was configured for one application's checks, with the object that said so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol

from appstatus.api.names import AppKey


class Exclusion(NamedTuple):
    """A glob, and the object that excludes what it matches (empty: the Project's default)."""

    pattern: str
    by: str


class Override(NamedTuple):
    """``threshold`` None keeps the table's; ``by``: ``namespace/name`` of the InspectionOverride, empty for a Project's default."""

    threshold: float | None = None
    disabled: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """checks: by check id; peers: globs on an upstream (``legacy-billing:*``, ``shop/redis.statefulset``); nodes: globs."""

    checks: Mapping[str, Override] = field(default_factory=dict)
    peers: tuple[Exclusion, ...] = ()
    nodes: tuple[Exclusion, ...] = ()

    def excludes_peer(self, peer: AppKey) -> Exclusion | None:
        return _first(self.peers, (str(peer), peer.name))

    def excludes_node(self, node: str) -> Exclusion | None:
        return _first(self.nodes, (node,))


def _first(exclusions: tuple[Exclusion, ...], names: tuple[str, ...]) -> Exclusion | None:
    return next((e for e in exclusions if any(fnmatchcase(name, e.pattern) for name in names)), None)


class Policy(Protocol):
    def settings(self, app: AppKey) -> Settings:
        """Never fails: an application that nobody mentions has ``Settings()``."""


class Defaults:
    """The table's own thresholds for every application."""

    def settings(self, app: AppKey) -> Settings:
        return Settings()
