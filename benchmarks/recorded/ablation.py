"""What each part of the diagnosis earns: the same sets without it. Taken away from outside: the product has no such switch."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

_MODULES = ("demarcation", "diagnose", "excess", "flow", "origin", "signals", "suspects")
_demarcation, _diagnose, _excess, _flow, _origin, _signals, _suspects = (
    importlib.import_module(f"appstatus.diagnosis.{name}") for name in _MODULES
)


def _nobody(*_: object, **__: object) -> _demarcation.Gaps:
    return _demarcation.Gaps()


def _own(own: np.ndarray, edges: dict) -> dict:
    return {}


# name -> (what is missing, what to replace by what)
ABLATIONS: dict[str, tuple[str, list[tuple[object, str, object]]]] = {
    "composition": ("an excess is not split over calls: all is the violator's own", [(_flow, "_shares", _own)]),
    "parts": ("the incident is looked at as a whole", [(_excess, "MOST_PARTS", 1)]),
    "demarcation": (
        "client's and server's latency are not compared",
        [(_flow.Flow, "_network", lambda *_: 0.0), (_origin, "gaps", _nobody), (_suspects, "gaps", _nobody)],
    ),
    "changes": (
        "rollouts and configuration changes are not known",
        [(_signals, "change_before", lambda *_: None), *((_signals, name, lambda *_: None) for name in ("earlier", "first_sign"))],
    ),
    "logs": ("nobody reads logs", [(_signals, "said", lambda *_: [])]),
    "suspects": ("only what can be followed is named", [(_diagnose, "suspects", lambda *_, **__: [])]),
    "instances": ("no odd instance is looked for", [(_diagnose, "located", lambda _a, _v, causes, _c, most, _t: causes[:most])]),
    "new calls": ("a callee that was not called before is like any other", [(_excess.Accounts, "begun", lambda *_: False)]),
}


@contextmanager
def without(name: str) -> Iterator[None]:
    patches = [patch.object(where, attribute, value) for where, attribute, value in ABLATIONS[name][1]]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


