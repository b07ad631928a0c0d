"""Data that were there and are missing: told once when that lasts, and once when they are back. Pure.

As with incidents, the whole state lives in the status of the object that it is about (a Project, or an SLO that asks for it),
written before an Event is posted and marked afterwards.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

GapReason = Literal["DataLost", "DataRestored", "SLODataMissing", "SLODataRestored"]
# missing: none fresh; unknown: nobody could look, or too young to have any
Supply = Literal["fresh", "missing", "unknown"]

# Missing for so long is told, seconds: a restart of Prometheus with its log to replay, or a roll-out of the agents, is shorter, and
# an incident cannot be closed without the last five minutes either. What is fresh in between counts against it: data that are there
# less than half of the time are told.
BOUND = 300.0
# Fresh for so long is the end, seconds: what comes and goes until then is one gap, and users' own queries, which are asked less
# often, have been answered by then too.
BACK = 120.0
# Data that go missing again within so long after an end that was told, seconds, are the same trouble: the next end must last as
# long.
CALM = 1800.0


class Told(NamedTuple):
    """Which Events tell the beginning and the end of a gap."""

    lost: GapReason
    back: GapReason


PROJECT = Told("DataLost", "DataRestored")
SLO = Told("SLODataMissing", "SLODataRestored")


@dataclass(frozen=True, slots=True)
class DataGap:
    """uid of the object that it is about; since when data have been missing (until it is told: without what was fresh in between),
    until when (they are back): whole unix seconds, as the state is read back from text. due, posted: as of
    ``incident.Participation``; but a beginning that could not be posted while it lasted counts as posted: its end tells both.
    """

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
    def next(self) -> GapReason | None:
        """The Event to be posted now. No Warning while data are there."""
        late = self.until is not None and len(self.known) == 1
        return self.due[0] if self.due and not late else None

    @property
    def done(self) -> bool:
        return not self.due and len(self.posted) == len(Told._fields)


def advance(
    gap: DataGap | None,
    uid: str,
    supply: Supply,
    now: float,
    told: Told,
    *,
    had: bool,
    hold: bool = False,
    ended: float | None = None,
) -> DataGap | None:
    """One cycle of one object.

    had    fresh data have been seen before: what never had any cannot lose them
    hold   somebody else tells it now (the data of the whole Project are missing)
    ended  when data were back from the latest gap that was told, None if that is not known
    """
    moment = float(int(now))
    if gap is None or gap.uid != uid or gap.done:
        return DataGap(uid, moment) if supply == "missing" and had else None
    if told.back in gap.known:
        return gap
    is_told = told.lost in gap.known
    if supply == "unknown":
        return gap if is_told else None  # what nobody looked at is not missing
    if supply == "missing":
        if gap.until is not None and not is_told:
            gap = replace(gap, since=min(gap.since + 2 * (moment - gap.until), moment))
        gap = replace(gap, until=None)
        return gap if is_told or hold or now - gap.since < BOUND else replace(gap, due=(told.lost,))
    until = moment if gap.until is None else gap.until
    again = is_told and ended is not None and gap.since - ended < CALM
    if now - until < (CALM if again else BACK):
        return replace(gap, until=until)
    return replace(gap, until=until, due=(told.back,), posted=(told.lost,)) if is_told else None


def marked(gap: DataGap, reason: GapReason) -> DataGap:
    """After the API server has the Event (created, or it already existed)."""
    return replace(gap, due=tuple(due for due in gap.due if due != reason), posted=(*gap.posted, reason))
