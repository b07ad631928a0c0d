"""The answer in a sentence or two: what users feel and why, in the words of the Event; or that all is well."""

from collections.abc import Sequence

from appstatus.diagnosis import wording
from appstatus.diagnosis.result import DOMINANT, Diagnosis
from appstatus.inspections.result import CheckResult
from appstatus.report import checks as inspected
from appstatus.report import objectives, text
from appstatus.slo.status import SLOStatus


def verdict(
    called: str, statuses: Sequence[SLOStatus], checks: Sequence[CheckResult], known: Diagnosis | None, missing: str
) -> tuple[str, ...]:
    """Sentences, the first is the answer. statuses: most urgent first; missing: why there is no fresh data, empty if there is."""
    violated = [status for status in statuses if status.violated]
    if violated:
        sentences = _violation(called, violated, known)
    elif missing:
        sentences = [f"Nothing can be said of {called}: {missing}."]
    else:
        sentences = _calm(called, statuses, checks)
    lost, _ = inspected.without_data(checks)
    if lost and not missing:
        sentences.append(f"Without data, so nothing is known of: {text.names(lost, 5)}.")
    return tuple(sentences)


def _violation(called: str, violated: Sequence[SLOStatus], known: Diagnosis | None) -> list[str]:
    cause = f"Cause: {wording.line(known)}." if known is not None else "Cause: not found."
    sentences = [f"{objectives.facts(violated, called)}. {cause}"]
    if known is not None and known.causes and known.thin:
        sentences.append("The evidence is thin; what there is speaks for the causes below, the best first.")
    elif known is not None and known.causes and not known.dominant:
        why = f"No cause explains {100 * DOMINANT:.0f}% or more of it"
        if max(cause.share for cause in known.causes) >= DOMINANT:
            why = "Where the largest share lies nothing explains it"
        sentences.append(f"{why}; those found are below, the best first.")
    return sentences


def _calm(called: str, statuses: Sequence[SLOStatus], checks: Sequence[CheckResult]) -> list[str]:
    met = [status.objective.id for status in statuses if status.state == "Met"]
    sentences = [f"SLO {s.objective.id} of {called}: {objectives.message(s)}." for s in statuses if s.state != "Met"]
    if met:
        all_met = f"Every SLO of {called} is met" if len(met) == len(statuses) else f"SLO met: {text.names(met, 3)}"
        sentences.insert(0, f"{all_met}; so there is no cause to look for.")
    elif not statuses:
        sentences.append(f"{called} has no SLO: it gets no requests that can be read.")
    bad = [each for each in inspected.failing(checks) if not each.startswith("SLO")]
    verb = "check fails" if len(bad) == 1 else "checks fail"
    sentences.append(f"{len(bad)} {verb}: {text.names(bad, 8)}." if bad else "No check fails.")
    return sentences
