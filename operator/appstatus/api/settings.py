"""What was configured for one application's checks, with the object that said so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from appstatus.api.names import AppKey
from appstatus.api.selection import matches


class Override(NamedTuple):
    """``threshold`` None keeps the table's; ``by``: ``namespace/name`` of the InspectionOverride, empty for a Project's default."""

    threshold: float | None = None
    disabled: bool = False
    by: str = ""


class Exclusion(NamedTuple):
    """A pattern, and the InspectionOverride (``namespace/name``) that leaves out what it matches."""

    pattern: str
    by: str


@dataclass(frozen=True, slots=True)
class Settings:
    """checks: by check id; peers: patterns of an upstream (``legacy-billing:*``, ``shop/redis.statefulset``); nodes: patterns."""

    checks: Mapping[str, Override] = field(default_factory=dict)
    peers: tuple[Exclusion, ...] = ()
    nodes: tuple[Exclusion, ...] = ()

    def excludes_peer(self, peer: AppKey) -> Exclusion | None:
        """A pattern is for ``namespace/name.kind`` or the name alone; an external service's name is ``host:port``."""
        return _first(self.peers, (str(peer), peer.name))

    def excludes_node(self, node: str) -> Exclusion | None:
        return _first(self.nodes, (node,))


def _first(exclusions: tuple[Exclusion, ...], names: tuple[str, ...]) -> Exclusion | None:
    return next((e for e in exclusions if any(matches(e.pattern, name) for name in names)), None)
