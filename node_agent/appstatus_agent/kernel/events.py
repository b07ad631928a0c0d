# SPDX-License-Identifier: Apache-2.0
"""Rare things the kernel side reports one by one through the ring buffer (layouts: bpf/types.h)."""

import struct
from dataclasses import dataclass

import numpy as np

from appstatus_agent.kernel import rows
from appstatus_agent.kernel.rows import address

_EVENT = struct.Struct("=QQQIHHIHH")  # struct event
_SAMPLE = struct.Struct("=QIxxxx")  # struct sample, behind its key
_NO_LATENCY = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Event:
    at: int  # ns, CLOCK_MONOTONIC
    pid: int  # process (thread group) id in the host's pid namespace; 0 if not about a process
    owner: int  # cgroup-v2 id of the process or socket (see rows.OWNER_V1)
    owner_v1: int  # id in the v1 memory hierarchy, without OWNER_V1; equals a v2 id where memory is on v2


@dataclass(frozen=True, slots=True)
class ProcessExec(Event):
    comm: str


@dataclass(frozen=True, slots=True)
class ProcessExit(Event):
    comm: str
    exit_code: int  # as wait(2) reports it: status << 8 | signal


@dataclass(frozen=True, slots=True)
class OomKill(Event):
    """The kernel chose this process as OOM victim; its ProcessExit follows. Below 6.8 only `pid` and `at` are set."""

    comm: str


@dataclass(frozen=True, slots=True)
class Listen(Event):
    local: str
    port: int
    netns: int
    opened: bool  # False: stopped listening


@dataclass(frozen=True, slots=True)
class CgroupChange(Event):
    """A cgroup was made or removed; `owner` is its id in hierarchy `hierarchy` (0 = v2), `path` inside that hierarchy."""

    path: str
    hierarchy: int
    created: bool


@dataclass(frozen=True, slots=True)
class DnsAnswer(Event):
    """UDP payload of an answer (source port 53), cut at 512 bytes, at most 100 a second per node; `owner` asked."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class RequestSample(Event):
    """A request that failed or was slow: at most 10 a second per node, and only where one had failed just before."""

    key: np.void  # rows.SERIES_KEY
    status: int  # index in rows.STATUSES
    latency: int | None  # ns
    request: bytes  # its first bytes, as they were: at most 128


def decode(record: memoryview) -> Event | None:
    """One record of the ring buffer; None if a newer kernel side reports what this one does not know."""
    at, owner, owner_v1, pid, kind, length, number, port, _ = _EVENT.unpack_from(record)
    data = bytes(record[_EVENT.size : _EVENT.size + length])
    common = (at, pid, owner, owner_v1)
    match kind:
        case 1:
            return ProcessExec(*common, _text(data))
        case 2:
            return ProcessExit(*common, _text(data), number)
        case 3:
            return OomKill(*common, _text(data))
        case 4 | 5:
            return Listen(*common, address(data[:16]), port, number, kind == 4)
        case 6 | 7:
            return CgroupChange(*common, _text(data), number, kind == 6)
        case 8:
            return DnsAnswer(*common, data)
        case 9:
            (key,) = np.frombuffer(data, rows.SERIES_KEY, 1)
            latency, length = _SAMPLE.unpack_from(data, rows.SERIES_KEY.itemsize)
            begins = rows.SERIES_KEY.itemsize + _SAMPLE.size
            return RequestSample(*common, key, number, None if latency == _NO_LATENCY else latency, data[begins : begins + length])
    return None


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
