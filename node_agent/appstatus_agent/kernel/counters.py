# SPDX-License-Identifier: Apache-2.0
"""What the kernel side lost, refused, could not read, and cost."""

from dataclasses import dataclass, field

import numpy as np

from appstatus_agent.kernel import rows
from appstatus_agent.kernel.libbpf import Map


@dataclass(frozen=True, slots=True)
class ProgramCost:
    """Estimated from one run in 1,024."""

    seconds: float
    runs: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since load."""

    events_lost: dict[str, int] = field(default_factory=dict)  # source -> n
    map_full: dict[str, int] = field(default_factory=dict)  # map -> n
    map_entries: dict[str, int] = field(default_factory=dict)  # map -> entries now
    unparsed: dict[tuple[str, str], int] = field(default_factory=dict)  # (protocol, reason) -> n
    unknown_owner: int = 0
    destinations_folded: int = 0
    programs: dict[str, ProgramCost] = field(default_factory=dict)


# enum counter and enum program of bpf/types.h, in order: which field of Counters, and its key.
_COUNTERS: tuple[tuple[str, object], ...] = (
    ("events_lost", "ring"),
    ("events_lost", "dns_rate"),
    ("events_lost", "sample_rate"),
    ("map_full", "requests"),
    ("map_full", "tcp"),
    ("map_full", "connections"),
    ("map_full", "destinations"),
    ("map_full", "sockets"),
    ("map_full", "listeners"),
    ("unparsed", ("ip", "extension_header")),
    ("unknown_owner", None),
    ("destinations_folded", None),
)
# enum unparsed, in order.
_UNPARSED = ("gap", "pipeline", "message_evicted", "segment", "busy", "unreadable", "invalid", "unasked")
_PROGRAMS = ("ingress", "egress", "tcp", "process")
_SAMPLED = 1024  # one run in so many is measured


def read_counters(maps: dict[str, Map], entries: dict[str, int]) -> Counters:
    """`entries`: entries now, by map."""
    counters: dict[str, object] = {name: {} for name in ("events_lost", "map_full", "unparsed")}
    _, values = maps["counters"].read(value=np.dtype("<u8"))
    for (name, key), value in zip(_COUNTERS, values.ravel().tolist(), strict=True):
        if key is None:
            counters[name] = value
        else:
            counters[name][key] = value  # type: ignore[index]
    _, values = maps["unparsed"].read(value=np.dtype("<u8"))
    by_protocol = values.reshape(len(rows.PROTOCOLS), len(_UNPARSED)).tolist()
    for protocol, by_reason in zip(rows.PROTOCOLS, by_protocol, strict=True):
        for reason, value in zip(_UNPARSED, by_reason, strict=True):
            counters["unparsed"][protocol or "unknown", reason] = value  # type: ignore[index]
    _, costs = maps["costs"].read(value=np.dtype([("ns", "<u8"), ("runs", "<u8")]))
    programs = {
        name: ProgramCost(int(cost["ns"]) * _SAMPLED / 1e9, int(cost["runs"]) * _SAMPLED)
        for name, cost in zip(_PROGRAMS, costs.ravel(), strict=True)
    }
    return Counters(**counters, map_entries=entries, programs=programs)  # type: ignore[arg-type]
