"""What a diagnosis says."""

from dataclasses import dataclass, field

from appstatus.api.names import AppKey

DOMINANT = 0.3  # the share from which on a cause explains enough to be told without others


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measured fact: ``before`` and ``during`` are in ``unit``; None where there was nothing to compare with.

    strength  how far it moved, in units of what it moves by anyway (``shift.py``); 0 where that cannot be said
    """

    signal: str
    subject: str
    before: float | None
    during: float | None
    unit: str
    strength: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Cause:
    """share: part of the violator's excess (failed + slow) that starts here, 0..1 (0: a suspect, nothing could be followed to it);
    path: violator first, cause last.

    mode  what most of the share is: ``failures`` (requests) or ``seconds`` (of latency)
    attribution  what its failures have in common, one sentence (``all failures are on version=v2``); empty: nothing
    """

    app: AppKey
    klass: str  # id in the table of classes, e.g. ``cpu-throttled``
    share: float
    path: tuple[AppKey, ...]
    evidence: tuple[Evidence, ...]
    instance: str = ""
    node: str = ""
    neighbour: str = ""  # the noisy neighbour, if that is the class: ``app`` again; who suffers stands before it in ``path``
    mode: str = "seconds"
    attribution: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """causes: best first, at most three; ``dominant`` False means "no dominant cause" (best share < .3 or thin evidence).

    dismissed  what looked like a cause and is not, one sentence each
    thin       why the evidence is thin, empty if it is not
    """

    violator: AppKey
    onset: float
    at: float
    causes: tuple[Cause, ...]
    dominant: bool
    dismissed: tuple[str, ...] = field(default=())
    thin: str = ""
