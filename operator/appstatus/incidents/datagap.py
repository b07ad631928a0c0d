"""Data that were there and are missing: told once when that lasts, and once when they are back. Pure.

As with incidents, the whole state lives in the status of the object that it is about (a Project, or an SLO that asks for it),
written before an Event is posted and marked afterwards.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

GapReason = Literal["DataLost", "DataRestored", "SLODataMissing", "SLODataRestored"]
# missing: none fresh; unknown: nobody could look, or too young to have any
Supply = Literal["fresh", "missing", "unknown"]

# Missing for so long without a break is told, seconds: a restart of Prometheus with its log to replay, or a roll-out of the
# agents, is shorter, and an incident cannot be closed without the last five minutes either.
BOUND = 300.0
# Once told, fresh for so long is told as back, seconds: what comes and goes until then is one gap, and users' own queries,
# which are asked less often, have been answered by then too.
BACK = 120.0


class Told(NamedTuple):
    """Which Events tell the beginning and the end of a gap."""

    lost: GapReason
    back: GapReason


PROJECT = Told("DataLost", "DataRestored")
SLO = Told("SLODataMissing", "SLODataRestored")


@dataclass(frozen=True, slots=True)
class DataGap:
    """uid of the object that it is about; since when data have been missing, until when (they are back): whole unix seconds, as the
    state is read back from text. due, posted: as of ``incident.Participation``."""

    uid: str
    since: float
    until: float | None = None
    due: tuple[GapReason, ...] = ()
    posted: tuple[GapReason, ...] = ()

    @property
    def known(self) -> tuple[GapReason, ...]:
        """Reasons that were posted or may have been."""
        return (*self.posted, *self.due)

    @property
    def done(self) -> bool:
        return not self.due and len(self.posted) == len(Told._fields)


def advance(
    gap: DataGap | None, uid: str, supply: Supply, now: float, told: Told, *, had: bool, hold: bool = False
) -> DataGap | None:
    """One cycle of one object.

    had   fresh data have been seen before: what never had any cannot lose them
    hold  somebody else tells it now (the data of the whole Project are missing)
    """
    moment = float(int(now))
    if gap is None or gap.uid != uid or gap.done:
        return DataGap(uid, moment) if supply == "missing" and had else None
    if told.back in gap.known or supply == "unknown":
        return gap
    if supply == "missing":
        gap = replace(gap, until=None)
        if told.lost in gap.known or hold or now - gap.since < BOUND:
            return gap
        return replace(gap, due=(told.lost,))
    if told.lost not in gap.known:
        return None
    gap = replace(gap, until=moment if gap.until is None else gap.until)
    return gap if now - (gap.until or 0.0) < BACK else replace(gap, due=(*gap.due, told.back))


def marked(gap: DataGap, reason: GapReason) -> DataGap:
    """After the API server has the Event (created, or it already existed)."""
    return replace(gap, due=tuple(due for due in gap.due if due != reason), posted=(*gap.posted, reason))
