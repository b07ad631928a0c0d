"""Stores incidents and posts their Events so that a crash at any point neither loses nor doubles one.

The order of writes: the state of every application in the incident with its Events as *due*; then each Event (its name is the same
at every attempt, so that the API server itself refuses a second one); then the mark *posted*.
"""

import logging
from collections.abc import Iterable

from appstatus.api.names import AppKey
from appstatus.cluster.events import Recorder
from appstatus.cluster.status import StatusWriter
from appstatus.cluster.writing import NotLeading, OutOfTime
from appstatus.documents import Documents
from appstatus.incidents.incident import Participation, marked
from appstatus.incidents.machine import Outcome
from appstatus.kube import ApiError

log = logging.getLogger(__name__)


class IncidentLog:
    """The leader's memory of incidents. ``parts`` is what holds now; it is changed in place, so that documents see it."""

    def __init__(self, recorder: Recorder, statuses: StatusWriter) -> None:
        self._recorder = recorder
        self._statuses = statuses
        self._stored: dict[AppKey, Participation] = {}
        self.parts: dict[AppKey, Participation] = {}

    def load(self, parts: Iterable[Participation]) -> None:
        """What AppStatus holds, when this replica begins to lead."""
        self.parts.update({part.app: part for part in parts})
        self._stored = dict(self.parts)

    def remember(self, outcome: Outcome) -> None:
        """Takes a step over without writing anything: what is due stays due."""
        self.parts.clear()
        self.parts.update({part.app: part for part in outcome.participations})

    def settle(self, outcome: Outcome, documents: Documents, deadline: float) -> int:
        """Stores and posts what a step made due; returns how many Events were posted. What cannot be done before the monotonic
        ``deadline`` stays due and is tried again in the next cycle."""
        self.remember(outcome)
        posted = 0
        for incident in dict.fromkeys(part.incident_id for part, _ in outcome.due):
            try:
                posted += self._settle(incident, documents, deadline)
            except (NotLeading, OutOfTime) as error:
                log.warning("Incident %s waits: %s", incident, error or "this replica does not lead")
        return posted

    def forget_done(self) -> None:
        """Once their last documents are made, incidents that are over are history."""
        for app in [app for app, part in self.parts.items() if part.done]:
            del self.parts[app]
        for app in [app for app in self._stored if app not in self.parts]:
            del self._stored[app]

    def _settle(self, incident: str, documents: Documents, deadline: float) -> int:
        members = [part for part in self.parts.values() if part.incident_id == incident]
        # The opener last: an application that is stored as affected gets its opener back after a crash (incidents.machine), while
        # one that is not stored at all might open an incident of its own.
        for part in sorted(members, key=lambda part: part.opener):
            self._store(part, documents, deadline)
        posted = 0
        for part in sorted(members, key=lambda part: not part.opener):
            while part.due:
                posted += self._recorder.post(documents.event(part, part.due[0]), deadline)
                part = self.parts[part.app] = marked(part, part.due[0])
                self._store(part, documents, deadline)
        return posted

    def _store(self, part: Participation, documents: Documents, deadline: float) -> None:
        if self._stored.get(part.app) == part:
            return
        document = documents.appstatus(part.app)
        if document is not None:
            try:
                self._statuses.write_now(document, deadline)
            except ApiError as error:
                # Refused for good, such as a namespace that is being deleted. Not to tell would be worse than to tell it twice.
                log.error("The state of incident %s of %s was refused: %s", part.incident_id, part.app, error)
        self._stored[part.app] = part
