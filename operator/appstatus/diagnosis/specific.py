"""What the failures of one application have in common, by its instances: their names, nodes and versions."""

import numpy as np
from numpy.typing import NDArray

from appstatus.diagnosis.dimensions import failing, sentence
from appstatus.diagnosis.excess import Accounts
from appstatus.model.series import F64
from appstatus.model.world import Application, Traffic


def attribution(accounts: Accounts, app: Application) -> str:
    """``all failures are on version=v2 (the same as instance=cart-1)``; empty where they are everywhere, or it is not sure."""
    known = [(instance, instance.served) for instance in app.instances.values() if instance.served is not None]
    if len(known) < 2:
        return ""
    labels = {
        "instance": [instance.name for instance, _ in known],
        "node": [instance.node for instance, _ in known],
        "version": [instance.version for instance, _ in known],
    }
    bad, total, bad_before, total_before = (
        [_events(traffic, statuses, window) * accounts.world.step for _, traffic in known]
        for window in (accounts.windows.incident, accounts.windows.reference)
        for statuses in (accounts.bad, None)
    )
    found = failing(labels, bad, total, bad_before, total_before)
    return sentence(found) if found else ""


def _events(traffic: Traffic, statuses: frozenset[str] | None, window: NDArray[np.bool_]) -> float:
    """Sum of the rates of these statuses (None: all) over a window's steps."""
    wanted: list[F64] = [values for status, values in traffic.requests.items() if statuses is None or status in statuses]
    return sum(float(np.nansum(values[window])) for values in wanted)
