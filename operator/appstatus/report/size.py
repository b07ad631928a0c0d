"""Keeps AppStatus small: leaves out the least important first, and says what and how many."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from appstatus.report.text import cut

Document = dict[str, Any]
Lists = Callable[[Document], Iterator[list[Any]]]
# For the note of what was left out.
ROOM = 250
SHORT_MESSAGE = 80


def _at(*path: str) -> Lists:
    """The list at one place, if it is there."""

    def find(document: Document) -> Iterator[list[Any]]:
        place: Any = document
        for name in path:
            place = place.get(name, {})
        if place:
            yield place

    return find


def _of_failing(name: str) -> Lists:
    def find(document: Document) -> Iterator[list[Any]]:
        yield from (entry[name] for entry in document["inspections"]["failing"] if name in entry)

    return find


def _evidence_of_causes(document: Document) -> Iterator[list[Any]]:
    yield from (cause["evidence"] for cause in document.get("incident", {}).get("diagnosis", {}).get("causes", ()))


# What is left out, where it is, and how many items of each list stay. In this order; the verdicts and the open incident stay.
_STEPS: tuple[tuple[str, Lists, int], ...] = (
    ("dependencies", _at("dependencies"), 20),
    ("past incidents", _at("history"), 5),
    ("instances of failing checks", _of_failing("instances"), 3),
    ("past incidents", _at("history"), 3),
    ("dismissed causes", _at("incident", "diagnosis", "dismissed"), 0),
    ("further causes", _at("incident", "diagnosis", "causes"), 1),
    ("facts of evidence", _evidence_of_causes, 3),
    ("affected applications", _at("incident", "affected"), 5),
    ("dependencies", _at("dependencies"), 5),
    ("past incidents", _at("history"), 2),
    ("dependencies", _at("dependencies"), 0),
    ("SLOs", _at("slos"), 2),
    ("past incidents", _at("history"), 1),
    ("facts of evidence", _evidence_of_causes, 1),
)
# Of failing checks, last: their ids always stay.
_DETAILS = ("evidence", "instances", "overriddenBy", "threshold", "unit", "value", "since", "area")


def shorten(document: Document, limit: int) -> None:
    """Shortens an AppStatus status in place until it has at most ``limit`` bytes; condition Healthy says what was left out."""
    left_out: dict[str, int] = {}

    def fits() -> bool:
        return len(orjson.dumps(document)) <= limit - (ROOM if left_out else 0)

    for what, find, keep in _STEPS:
        for items in find(document):
            while len(items) > keep and not fits():
                items.pop()
                left_out[what] = left_out.get(what, 0) + 1
    for detail in _DETAILS:
        for entry in reversed(document["inspections"]["failing"]):
            if detail in entry and not fits():
                del entry[detail]
                left_out["details of failing checks"] = left_out.get("details of failing checks", 0) + 1
    for condition in document["conditions"]:
        if not fits():
            condition["message"] = cut(condition["message"], SHORT_MESSAGE)
    if left_out:
        note = ", ".join(f"{count} {what}" for what, count in left_out.items())
        for condition in document["conditions"]:
            if condition["type"] == "Healthy":
                condition["message"] = f"{condition['message']} (left out for size: {note})"
