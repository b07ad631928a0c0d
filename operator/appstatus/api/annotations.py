"""What a workload's own annotations say: an SLO or category without any custom resource."""

from collections.abc import Mapping
from dataclasses import replace

from appstatus.api.fields import Problem
from appstatus.api.project import MAX_THRESHOLD, MIN_THRESHOLD, DefaultSLO
from appstatus.api.scope import CATEGORY_ANNOTATION, NAME_ANNOTATION, PREFIX
from appstatus.api.values import parse_duration, parse_objective

AVAILABILITY_OBJECTIVE = PREFIX + "slo-availability-objective"
LATENCY_OBJECTIVE = PREFIX + "slo-latency-objective"
LATENCY_THRESHOLD = PREFIX + "slo-latency-threshold"
KNOWN = frozenset({AVAILABILITY_OBJECTIVE, LATENCY_OBJECTIVE, LATENCY_THRESHOLD, CATEGORY_ANNOTATION, NAME_ANNOTATION})
OFF = "off"


def apply(
    annotations: Mapping[str, str], availability: DefaultSLO, latency: DefaultSLO
) -> tuple[DefaultSLO, DefaultSLO, tuple[Problem, ...]]:
    """The Project's default SLOs as the annotations change them, and the problems; a value that is wrong changes nothing.

    ``off`` as an objective turns the SLO off. Whoever writes a latency SLO wants to hear of it: it posts as the availability
    SLO does.
    """
    ours = {k: v for k, v in annotations.items() if k.startswith(PREFIX)}
    problems = [Problem(key, f"is unknown; known are {', '.join(sorted(KNOWN))}") for key in sorted(ours) if key not in KNOWN]
    availability = _objective(availability, AVAILABILITY_OBJECTIVE, ours, problems)
    latency = _objective(latency, LATENCY_OBJECTIVE, ours, problems)
    if LATENCY_THRESHOLD in ours:
        latency = _threshold(latency, ours[LATENCY_THRESHOLD], problems)
    if (LATENCY_OBJECTIVE in ours or LATENCY_THRESHOLD in ours) and latency.events == "None":
        latency = replace(latency, events="Page")
    return availability, latency, tuple(problems)


def asks_for_latency(annotations: Mapping[str, str]) -> bool:
    return LATENCY_OBJECTIVE in annotations or LATENCY_THRESHOLD in annotations


def _objective(slo: DefaultSLO, key: str, annotations: Mapping[str, str], problems: list[Problem]) -> DefaultSLO:
    text = annotations.get(key)
    if text is None:
        return slo
    if text == OFF:
        return replace(slo, enabled=False)
    try:
        return replace(slo, enabled=True, ratio=parse_objective(text))
    except ValueError as error:
        problems.append(Problem(key, f"is wrong: {error}, nor {OFF}"))
        return slo


def _threshold(slo: DefaultSLO, text: str, problems: list[Problem]) -> DefaultSLO:
    try:
        threshold = parse_duration(text)
    except ValueError as error:
        problems.append(Problem(LATENCY_THRESHOLD, f"is wrong: {error}"))
        return slo
    if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
        problems.append(Problem(LATENCY_THRESHOLD, f'is "{text}"; it must be from 1ms to 30s'))
        return slo
    return replace(slo, threshold=threshold)
