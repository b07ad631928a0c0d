"""In which order an incident's state and its Events reach the API server: a crash anywhere neither loses nor doubles one."""

from collections.abc import Callable, Iterable

from appstatus.api.names import AppKey
from appstatus.incidents.incident import Participation, Reason, marked
from appstatus.incidents.machine import Outcome


def carry_out(
    outcome: Outcome,
    stored: Iterable[Participation],
    write: Callable[[Participation], bool],
    post: Callable[[Participation, Reason], bool],
) -> tuple[Participation, ...]:
    """State, then Event, then mark; openers first, so that many affected applications do not delay the one Event.

    stored  the participations as AppStatus has them
    write   stores one; True when it is durable. False (the API server is gone): it is tried again in the next cycle
    post    posts one Event; True when the API server has it, also from an earlier try (409), or never will (namespace gone)

    Returns the participations as they are now; the next cycle's ``previous``. Whatever is not done yet stays in ``due``.
    """
    known = {part.app: part for part in stored}
    now: dict[AppKey, Participation] = {part.app: part for part in outcome.participations}
    durable: dict[AppKey, Participation] = {}
    for part in sorted(now.values(), key=lambda part: (not part.due, not part.opener, part.opened, part.app)):
        if known.get(part.app) == part or write(part):
            durable[part.app] = part
            for reason in part.due:
                if not post(durable[part.app], reason):
                    break
                durable[part.app] = marked(durable[part.app], reason)
            # A mark that cannot be stored only means that the Event is found to exist already the next time.
            if durable[part.app] != part:
                write(durable[part.app])
    return tuple(durable.get(app, now[app]) for app in sorted(now))
