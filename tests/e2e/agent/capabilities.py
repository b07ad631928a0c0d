# SPDX-License-Identifier: Apache-2.0
"""The agent's kernel side with the capabilities its DaemonSet names, while the test around it stays root."""

import contextlib
import ctypes
import functools
import os
import resource

_libc = ctypes.CDLL(None, use_errno=True)
_VERSION_3 = 0x20080522
_NUMBERS = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
DAEMONSET = ("BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH")
MEMLOCK = 64 * 1024


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def kernel_is_at_least(major: int, minor: int) -> bool:
    return tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (major, minor)


def named() -> tuple[str, ...]:
    """What the DaemonSet names; below 5.11 maps are charged to the memlock limit, which SYS_RESOURCE lifts."""
    return DAEMONSET if kernel_is_at_least(5, 11) else (*DAEMONSET, "SYS_RESOURCE")


@contextlib.contextmanager
def only(names: tuple[str, ...]):
    """This thread's effective capabilities are these, until the block ends."""
    header, before = _Header(_VERSION_3, 0), (_Data * 2)()
    _check(_libc.capget(ctypes.byref(header), before))
    mask = sum(1 << _NUMBERS[name] for name in names)
    limited = (_Data * 2)()
    for i in range(2):
        limited[i].permitted, limited[i].inheritable = before[i].permitted, before[i].inheritable
        limited[i].effective = mask >> 32 * i & 0xFFFFFFFF & before[i].permitted
    _check(_libc.capset(ctypes.byref(header), limited))
    try:
        yield
    finally:
        _check(_libc.capset(ctypes.byref(header), before))


def _check(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), "capabilities")


@functools.cache
def _lower_memlock() -> None:
    """Once: libbpf raises it again where it may, at its first load in a process only."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK, MEMLOCK))


class Limited:
    """Every call of `target` runs with the DaemonSet's capabilities and a memlock limit of 64 KiB."""

    def __init__(self, make, *arguments, names: tuple[str, ...] | None = None):
        self._names = named() if names is None else names
        _lower_memlock()
        with only(self._names):
            self._target = make(*arguments)

    def __getattr__(self, name: str):
        value = getattr(self._target, name)
        if not callable(value):
            return value

        def call(*arguments):
            with only(self._names):
                return value(*arguments)

        return call
