"""From when on an application is judged, and which of its bad events are forgiven."""

from collections.abc import Container as Members
from dataclasses import dataclass

import numpy as np

from appstatus.api.names import AppKey
from appstatus.model.series import F64
from appstatus.model.world import Application, World
from appstatus.slo.sli import Events, observed

# An application is judged this long after its first instance became available: a first start does not page.
GRACE = 120.0


@dataclass(slots=True)
class _Record:
    """uid, born: of the workload. judged: from then on, None while no instance has been available. forgiven: until then."""

    uid: str = ""
    born: float = 0.0
    judged: float | None = None
    forgiven: float = 0.0

    def available(self, since: float) -> None:
        judged = max(since, self.born) + GRACE
        self.judged = judged if self.judged is None else min(self.judged, judged)


class Records:
    """By application. All times are unix seconds."""

    def __init__(self) -> None:
        self._records: dict[AppKey, _Record] = {}

    def of(self, app: AppKey) -> _Record:
        return self._records.setdefault(app, _Record())

    def judged(self, app: AppKey) -> float | None:
        return self.of(app).judged

    def forgiven(self, app: AppKey) -> float:
        return self.of(app).forgiven

    def forgive(self, app: AppKey, until: float) -> None:
        record = self.of(app)
        record.forgiven = max(record.forgiven, until)

    def is_another(self, application: Application) -> bool:
        """Whether a workload of the same name was deleted and created since the last look: it starts with a clean record."""
        uid, born = application.ref.uid if application.ref is not None else "", application.created or 0.0
        record = self.of(application.key)
        known = record.uid
        if known and uid and known != uid:
            self._records[application.key] = _Record(uid, born, forgiven=record.forgiven)
            return True
        record.uid, record.born = uid or known, born or record.born
        return False

    def look(self, application: Application, world: World) -> None:
        """Notes since when an instance has been available: the API server says so, or an agent has seen it."""
        record = self.of(application.key)
        if record.judged is not None and record.judged <= world.now:
            return
        ready = [instance.ready_since for instance in application.instances.values() if instance.ready_since is not None]
        if ready:
            record.available(min(ready))
        elif any(instance.ready for instance in application.instances.values()):
            seen = np.flatnonzero(observed(application, world))
            record.available(float(world.times[seen[0]]) if len(seen) else world.now)

    def answered(self, app: AppKey, times: F64, found: Events) -> None:
        """A good answer says that an instance was available, also when all pods have been replaced since."""
        record = self.of(app)
        good = np.flatnonzero((np.nan_to_num(found.good) > 0) & (times > record.born))
        if len(good):
            record.available(float(times[good[0]]))

    def from_judgement_on(self, app: AppKey, times: F64, found: Events) -> Events:
        """What happened before the application was ready to be judged is not on its record."""
        judged = self.of(app).judged
        return _without(found, times <= (np.inf if judged is None else judged))

    def from_birth_on(self, app: AppKey, times: F64, step: float, found: Events) -> Events:
        """Without the past of an earlier workload of the same name."""
        return _without(found, times - step < self.of(app).born)

    def forget(self, known: Members[AppKey]) -> None:
        for app in [app for app in self._records if app not in known]:
            del self._records[app]


def _without(found: Events, steps: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Events:
    if not steps.any():
        return found
    return Events(np.where(steps, np.nan, found.good), np.where(steps, np.nan, found.total))
