"""Missing data, told as incidents are: the state is stored as *due*, then the Event is posted, then it is marked *posted*.

Of a Project it is told when SLOs cannot be judged: no node agent's data are fresh (Prometheus does not answer, or has none), or a
query that they are counted from is not answered. Of an SLO if it asks for it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from appstatus.api.scope import ProjectVerdict
from appstatus.cluster.events import Recorder
from appstatus.cluster.status import Document, Key, StatusWriter
from appstatus.cluster.writing import NotLeading, OutOfTime
from appstatus.documents import Cycle, unjudged
from appstatus.incidents.datagap import BACK, PROJECT, SLO, DataGap, GapReason, Supply, Told, advance, marked
from appstatus.kube import ApiError
from appstatus.report.datagap import read_gap

log = logging.getLogger(__name__)

Tell = Callable[[Key, DataGap, GapReason], dict[str, Any] | None]


class DataLog:
    """The leader's memory of missing data. ``gaps`` is what holds now; it is changed in place, so that documents see it."""

    def __init__(self, recorder: Recorder, statuses: StatusWriter) -> None:
        self._recorder = recorder
        self._statuses = statuses
        self._had: dict[Key, str] = {}  # uid of each object whose data have been there
        # When the latest gap that was told ended. Not stored: the next leader at worst tells the same trouble once more.
        self._ended: dict[Key, float] = {}
        self.gaps: dict[Key, DataGap] = {}

    def load(self, plural: str, objects: Iterable[Mapping[str, Any]]) -> None:
        """What the former leader wrote into the statuses, when this replica begins to lead."""
        for raw in objects:
            metadata, status = raw["metadata"], raw.get("status") or {}
            key = Key(plural, metadata.get("namespace", ""), metadata["name"])
            self._statuses.learn(key, metadata["resourceVersion"])
            if "dataLoss" in status:
                try:
                    self.gaps[key] = read_gap(status["dataLoss"], metadata["uid"])
                except (KeyError, ValueError, TypeError) as error:
                    log.error("status.dataLoss of %s cannot be read: %r", key, error)
            condition: Mapping[str, Any] = next((c for c in status.get("conditions") or () if c.get("type") == "DataAvailable"), {})
            # Of both, part of the data was there.
            partly = condition.get("reason") in ("QueriesFailed", "AgentsSilent")
            if key in self.gaps or condition.get("status") == "True" or partly:
                self._had[key] = metadata["uid"]

    def observe(self, cycle: Cycle) -> None:
        """Takes a cycle in without writing anything: what is due stays due."""
        before = dict(self.gaps)
        self.gaps.clear()
        seen = set()
        for name, verdict in cycle.policy.projects.items():
            key = Key("projects", "", name)
            seen.add(key)
            self._advance(key, before, verdict.project.meta.ref.uid, _of_project(cycle, verdict), PROJECT, cycle.now)
        for (namespace, name), slo in cycle.policy.slos.items():
            if slo.slo.data_missing:
                key = Key("slos", namespace, name)
                seen.add(key)
                project = cycle.policy.scope.project_of(namespace)
                # One cause, one alert: while the whole Project has no data, that is what is told.
                whole = self.gaps.get(Key("projects", "", project.meta.name)) if project is not None else None
                hold = whole is not None and (whole.until is None or cycle.now - whole.until < BACK)
                self._advance(key, before, slo.slo.meta.ref.uid, _of_slo(cycle, (namespace, name)), SLO, cycle.now, hold)
        for key in [key for key in self._had if key not in seen]:
            del self._had[key]
            self._ended.pop(key, None)

    def settle(self, make: Callable[[Key], Document], tell: Tell, deadline: float) -> int:
        """Stores and posts what is due; returns how many Events were posted. What cannot be done before the monotonic ``deadline``
        stays due. ``make``: the status document of an object; ``tell``: its Event, None while it cannot be told."""
        posted = 0
        for key in [key for key, gap in self.gaps.items() if gap.next]:
            try:
                posted += self._settle(key, make, tell, deadline)
            except (NotLeading, OutOfTime) as error:
                log.warning("Missing data of %s wait to be told: %s", key, error or "this replica does not lead")
            except Exception:  # one that cannot be told must not keep the others from being told
                log.exception("Missing data of %s could not be told", key)
        return posted

    def _advance(
        self, key: Key, before: Mapping[Key, DataGap], uid: str, supply: Supply, told: Told, now: float, hold: bool = False
    ) -> None:
        had = self._had.get(key) == uid
        gap = advance(before.get(key), uid, supply, now, told, had=had, hold=hold, ended=self._ended.get(key) if had else None)
        if gap is not None:
            self.gaps[key] = gap
        if supply == "fresh":
            self._had[key] = uid

    def _settle(self, key: Key, make: Callable[[Key], Document], tell: Tell, deadline: float) -> int:
        posted = 0
        self._store(make(key), deadline)
        while (reason := (gap := self.gaps[key]).next) is not None:
            event = tell(key, gap, reason)
            if event is None:
                break
            posted += self._recorder.post(event, deadline)
            self.gaps[key] = gap = marked(gap, reason)
            if gap.done and gap.until is not None:
                self._ended[key] = gap.until
            self._store(make(key), deadline)
        return posted

    def _store(self, document: Document, deadline: float) -> None:
        try:
            self._statuses.write_now(document, deadline)
        except ApiError as error:
            # Refused for good: not to tell would be worse than to tell it twice.
            log.error("That data of %s are missing could not be stored: %s", document.key, error)


def _of_project(cycle: Cycle, verdict: ProjectVerdict) -> Supply:
    name = verdict.project.meta.name
    if name in cycle.problems:
        return "missing"
    judgement = cycle.judgements.get(name)
    if judgement is None:
        return "unknown"
    return "missing" if unjudged(judgement.world) else "fresh"


def _of_slo(cycle: Cycle, key: tuple[str, str]) -> Supply:
    """Unknown while it is not evaluated: what is wrong with it is in its conditions."""
    status = cycle.status(cycle.policy.slos[key])
    if status is None or status.state == "Pending":
        return "unknown"
    return "missing" if status.state == "NoData" and not status.idle else "fresh"
