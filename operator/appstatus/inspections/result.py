"""The outcome of one check on one application."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["pass", "fail", "skip", "unknown"]  # skip: does not apply or disabled; unknown: cannot be said


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``value`` and ``threshold`` are in the check's unit; ``since`` is unix seconds of the first failing sample in a row.

    waiting  unknown because too little has been measured so far (young, rarely used), which ``evidence`` says; otherwise unknown
             means that data are missing
    """

    id: str
    area: str
    outcome: Outcome
    value: float | None = None
    threshold: float | None = None
    since: float | None = None
    instances: tuple[str, ...] = ()
    evidence: str = ""
    overridden_by: str = ""  # InspectionOverride that changed or disabled it
    waiting: bool = False
    extra: dict[str, str] = field(default_factory=dict)
