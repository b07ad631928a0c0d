# SPDX-License-Identifier: Apache-2.0
"""Series that nobody used for long leave, and their destinations go back to their owners' budgets (bpf/series.h)."""

import struct
import time

import numpy as np

from appstatus_agent.kernel import rows
from appstatus_agent.kernel.libbpf import Map

# Of bpf/types.h.
_BUDGET_INBOUND = 1 << 62
_TCP_BACKEND = 1 << 16


def expire(maps: dict[str, Map], idle_seconds: float, walk: int) -> list[bytes]:
    """Keys of the series dropped. `walk`: sweep number of the last read_tcp()."""
    now, idle = time.monotonic_ns(), int(idle_seconds * 1e9)
    dropped: list[bytes] = []
    kept = []
    for name, dtype in (("requests", rows.REQUEST_VALUE), ("tcp", rows.TCP_VALUE)):
        if name not in maps:
            continue
        series = maps[name]
        keys, values = series.read(rows.SERIES_KEY, dtype)
        # Or far ahead: a socket can ask for the time stamps of its packets, and none may hold a series for ever.
        choice = np.abs(now - values["last_used"].astype(np.int64)) > idle
        if name == "tcp":  # a connection may be open and silent
            choice &= (values["sweep"] != walk) | (values["active"] == 0)
        dropped += [key for key in map(np.void.tobytes, keys[choice]) if series.delete(key)]
        kept.append(keys[~choice])
    if dropped:
        _renew_budgets(maps["destinations"], maps["owners"], np.concatenate(kept))
    return dropped


def _renew_budgets(destinations: Map, owners: Map, keys: np.ndarray) -> None:
    """Destinations without a series left are given back. `keys`: of all series that stay."""
    keys = keys[(keys["folded"] == 0) & (keys["destination_port"] > 0)]
    used: dict[bytes, int] = {}
    for series in keys:
        whose = int(series["owner"]) | (_BUDGET_INBOUND if series["direction"] == rows.INBOUND else 0)
        destination = struct.pack("=Q16sH6x", whose, series["destination"].tobytes(), series["destination_port"])
        backend = (1 if series["protocol"] else _TCP_BACKEND) if series["actual"].any() else 0
        used[destination] = used.get(destination, 0) + backend
    per_owner: dict[bytes, int] = {}
    for key in destinations.all_keys():
        if key in used:
            destinations.set(key, struct.pack("=I", used[key]))
            per_owner[key[:8]] = per_owner.get(key[:8], 0) + 1
        else:
            destinations.delete(key)
    for owner in owners.all_keys():
        if owner in per_owner:
            owners.set(owner, struct.pack("=I", per_owner[owner]))
        else:
            owners.delete(owner)
