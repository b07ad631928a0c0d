"""An incident: one cause, the applications it hurts, and which Events have been posted for it.

The whole state lives in AppStatus.status of the applications that take part, written before an Event is posted and marked
afterwards: a crash in between can neither lose nor double an Event.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from appstatus.api.names import AppKey, ObjectRef
from appstatus.diagnosis.result import Diagnosis

Reason = Literal["SLOFastBurn", "SLOSlowBurn", "SLOAffected", "SLORecovered"]
OPENINGS: tuple[Reason, ...] = ("SLOFastBurn", "SLOSlowBurn")

# Why an incident is over.
RECOVERED = "Recovered"
NO_TRAFFIC = "NoTraffic"
WORKLOAD_DELETED = "WorkloadDeleted"
SLO_REMOVED = "SLORemoved"


@dataclass(frozen=True, slots=True)
class Participation:
    """One application's part in an incident. The opener carries the Warning Event; the others get SLOAffected.

    opened     whole unix seconds: the state is read back from text
    opening    which reason opens it; matters until the opening is in ``due``
    posted     reasons whose Event the API server has; due  reasons still to be posted, in order
    diagnosis  of this application; the opener's is the incident's
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
    opening: Reason = "SLOFastBurn"

    @property
    def known(self) -> tuple[Reason, ...]:
        """Reasons that were posted or may have been: what is due may have been posted just before a crash."""
        return (*self.posted, *self.due)

    @property
    def waiting(self) -> bool:
        """Nothing is posted or due yet: who opens the incident, and under which id, can still change."""
        return not self.known and self.closed is None

    @property
    def done(self) -> bool:
        """Over, with nothing left to post: history."""
        return self.closed is not None and not self.due


def incident_id(uid: str, opened: float) -> str:
    """Six hexadecimal digits from what does not depend on the cause, so that the id is known before the evidence is."""
    return hashlib.sha256(f"{uid}/{opened:.0f}".encode()).hexdigest()[:6]


def marked(part: Participation, reason: Reason) -> Participation:
    """After the API server has the Event (created, or it already existed)."""
    return replace(part, due=tuple(due for due in part.due if due != reason), posted=(*part.posted, reason))
