"""What every custom resource has: its reference, generation and age."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appstatus.api.fields import parse_time
from appstatus.api.names import GROUP, VERSION, ObjectRef


@dataclass(frozen=True, slots=True)
class Meta:
    """``created`` is unix seconds (0 for an object that is not in a cluster)."""

    ref: ObjectRef
    generation: int = 0
    created: float = 0.0

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def namespace(self) -> str:
        return self.ref.namespace

    @property
    def age_order(self) -> tuple[float, str, str]:
        """Sorts older objects first; the name decides between objects of the same second."""
        return self.created, self.ref.namespace, self.ref.name


def parse_meta(body: Mapping[str, Any], kind: str) -> Meta:
    """The metadata as the API server writes it; an object from a file may lack most of it."""
    metadata = body.get("metadata") or {}
    created = metadata.get("creationTimestamp")
    return Meta(
        ref=ObjectRef(
            api_version=f"{GROUP}/{VERSION}",
            kind=kind,
            namespace=metadata.get("namespace") or "",
            name=metadata.get("name") or "",
            uid=metadata.get("uid") or "",
        ),
        generation=metadata.get("generation") or 0,
        created=parse_time(created) if created else 0.0,
    )
