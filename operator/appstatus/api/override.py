"""The InspectionOverride as its owner wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from appstatus.api.fields import Fields, Problem
from appstatus.api.meta import Meta, parse_meta
from appstatus.api.project import CheckSetting, parse_checks
from appstatus.api.selection import Target, parse_target


@dataclass(frozen=True, slots=True)
class InspectionOverride:
    """``nodes`` and ``peers`` are patterns of what to leave out; ``expires_at`` is unix seconds or None for never."""

    meta: Meta
    target: Target
    checks: tuple[CheckSetting, ...]
    nodes: tuple[str, ...]
    peers: tuple[str, ...]
    reason: str
    expires_at: float | None
    problems: tuple[Problem, ...] = ()

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    @property
    def changes(self) -> str:
        """What it changes, in a few words: ``CPUContainer=95,NetworkRTT=off,without 1 peer``."""
        parts = [str(c) for c in self.checks if c.disabled or c.threshold is not None]
        for count, what in ((len(self.nodes), "node"), (len(self.peers), "peer")):
            if count:
                parts.append(f"without {count} {what}{'s' if count > 1 else ''}")
        return ",".join(parts)


def parse_override(body: Mapping[str, Any]) -> InspectionOverride:
    """An InspectionOverride from the API server or a file; what is wrong with it is in ``problems``."""
    problems: list[Problem] = []
    meta = parse_meta(body, "InspectionOverride")
    spec = Fields(body.get("spec"), "spec", problems)
    exclude = spec.part("exclude")
    override = InspectionOverride(
        meta=meta,
        target=parse_target(spec, meta.namespace, needed=False),
        checks=parse_checks(spec),
        nodes=exclude.strings("nodes"),
        peers=exclude.strings("peers"),
        reason=spec.required("reason"),
        expires_at=spec.moment("expiresAt"),
    )
    if not override.changes:
        spec.problem("", "changes nothing: give a threshold, disabled: true, or something to exclude")
    return replace(override, problems=tuple(problems))
