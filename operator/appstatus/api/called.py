"""What applications are called, where people read it: the annotation ``appstatus.dev/name`` of a workload.

A display name is no identity. The AppStatus object, metrics, incidents and the cause of another application's trouble go by
``<workload>.<kind>``, which is unique and which kubectl takes.
"""

from collections.abc import Iterable

from appstatus.api.fields import Problem
from appstatus.api.names import AppKey
from appstatus.api.scope import NAME_ANNOTATION
from appstatus.api.selection import Workload
from appstatus.api.values import is_label_value


def display_names(workloads: Iterable[Workload]) -> tuple[dict[AppKey, str], dict[AppKey, Problem]]:
    """Display names of those that have one, and what is wrong with the others' wishes.

    In a namespace a name means one application: nobody is called as another workload is named, and of those that want the same
    name the oldest has it.
    """
    called: dict[AppKey, str] = {}
    problems: dict[AppKey, Problem] = {}
    everybody = list(workloads)
    named: dict[tuple[str, str], list[AppKey]] = {}
    for workload in everybody:
        named.setdefault((workload.key.namespace, workload.key.name), []).append(workload.key)
    taken: dict[tuple[str, str], AppKey] = {}
    wishes = [
        (workload, workload.annotations[NAME_ANNOTATION]) for workload in everybody if NAME_ANNOTATION in workload.annotations
    ]
    for workload, wish in sorted(wishes, key=lambda each: (each[0].created or float("inf"), each[0].key)):
        key = workload.key
        if wish == key.name:
            continue
        if not wish or not is_label_value(wish):
            form = "1 to 63 letters, digits, -, _ and ., with a letter or digit at either end"
            problems[key] = _problem(f'is "{wish}"; it must be {form}')
            continue
        place = (key.namespace, wish)
        owner = next(iter(named.get(place, ())), None)
        if owner is not None:
            problems[key] = _problem(f'is "{wish}", which is the name of {owner.kind}/{owner.name}')
        elif place in taken:
            other = taken[place]
            problems[key] = _problem(f'is "{wish}", as the older {other.kind}/{other.name} is called already')
        else:
            taken[place] = key
            called[key] = wish
    return called, problems


def _problem(message: str) -> Problem:
    return Problem(NAME_ANNOTATION, f"{message}; the workload's own name is shown")
