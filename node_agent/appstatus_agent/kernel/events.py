# SPDX-License-Identifier: Apache-2.0
"""Rare things the kernel side reports one by one through the ring buffer (layouts: bpf/types.h)."""

from dataclasses import dataclass


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
