"""An incident: one cause, the applications it hurts, and which Events have been posted for it.

The whole state lives in AppStatus.status of the applications that take part, written before an Event is posted and marked
afterwards: a crash in between can neither lose nor double an Event.
"""

from dataclasses import dataclass
from typing import Literal

from appstatus.api.names import AppKey, ObjectRef
from appstatus.diagnosis.result import Diagnosis

Reason = Literal[
    "SLOFastBurn", "SLOSlowBurn", "SLOBudgetExhausted", "SLODataMissing", "SLOAffected", "SLORecovered"
]


@dataclass(frozen=True, slots=True)
class Participation:
    """One application's part in an incident. The opener carries the Warning Event; the others get SLOAffected.

    posted  reasons whose Event the API server has; due  reasons still to be posted, in order
    """

    incident_id: str
    app: AppKey
    ref: ObjectRef
    opener: bool
    opener_app: AppKey
    opened: float
    slos: tuple[str, ...]
    due: tuple[Reason, ...] = ()
    posted: tuple[Reason, ...] = ()
    closed: float | None = None
    closing_reason: str = ""
    diagnosis: Diagnosis | None = None
