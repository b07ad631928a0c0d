# SPDX-License-Identifier: Apache-2.0
"""The part of libbpf (1.x, stable ABI) that the loader needs, through ctypes; plus batch map reads and the ring buffer."""

import ctypes as c
import errno
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

_lib = c.CDLL("libbpf.so.1", use_errno=True)
_PRINT = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
_libc_vsnprintf = c.CDLL(None).vsnprintf


def _declare(name: str, result: type | None, *arguments: type) -> None:
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments


for _name, _result, _arguments in (
    ("bpf_object__open_file", c.c_void_p, (c.c_char_p, c.c_void_p)),
    ("bpf_object__load", c.c_int, (c.c_void_p,)),
    ("bpf_object__close", None, (c.c_void_p,)),
    ("bpf_object__next_program", c.c_void_p, (c.c_void_p, c.c_void_p)),
    ("bpf_object__next_map", c.c_void_p, (c.c_void_p, c.c_void_p)),
    ("bpf_program__name", c.c_char_p, (c.c_void_p,)),
    ("bpf_program__fd", c.c_int, (c.c_void_p,)),
    ("bpf_program__set_autoload", c.c_int, (c.c_void_p, c.c_bool)),
    ("bpf_program__set_log_level", c.c_int, (c.c_void_p, c.c_uint32)),
    ("bpf_program__set_log_buf", c.c_int, (c.c_void_p, c.c_void_p, c.c_size_t)),
    ("bpf_program__attach", c.c_void_p, (c.c_void_p,)),
    ("bpf_program__attach_iter", c.c_void_p, (c.c_void_p, c.c_void_p)),
    ("bpf_link_create", c.c_int, (c.c_int, c.c_int, c.c_int, c.c_void_p)),
    ("bpf_link__fd", c.c_int, (c.c_void_p,)),
    ("bpf_link__destroy", c.c_int, (c.c_void_p,)),
    ("bpf_iter_create", c.c_int, (c.c_int,)),
    ("bpf_map__name", c.c_char_p, (c.c_void_p,)),
    ("bpf_map__fd", c.c_int, (c.c_void_p,)),
    ("bpf_map__reuse_fd", c.c_int, (c.c_void_p, c.c_int)),
    ("bpf_map__set_max_entries", c.c_int, (c.c_void_p, c.c_uint32)),
    ("bpf_map__max_entries", c.c_uint32, (c.c_void_p,)),
    ("bpf_map__key_size", c.c_uint32, (c.c_void_p,)),
    ("bpf_map__value_size", c.c_uint32, (c.c_void_p,)),
    ("bpf_map__set_initial_value", c.c_int, (c.c_void_p, c.c_void_p, c.c_size_t)),
    ("bpf_map_lookup_elem", c.c_int, (c.c_int, c.c_void_p, c.c_void_p)),
    ("bpf_map_update_elem", c.c_int, (c.c_int, c.c_void_p, c.c_void_p, c.c_uint64)),
    ("bpf_map_delete_elem", c.c_int, (c.c_int, c.c_void_p)),
    ("bpf_map_get_next_key", c.c_int, (c.c_int, c.c_void_p, c.c_void_p)),
    ("bpf_map_lookup_batch", c.c_int, (c.c_int, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p)),
    ("bpf_obj_get_info_by_fd", c.c_int, (c.c_int, c.c_void_p, c.c_void_p)),
    ("libbpf_set_print", c.c_void_p, (_PRINT,)),
):
    _declare(_name, _result, *_arguments)


class BpfError(OSError):
    """A refused call, with libbpf's own last words."""


_log: list[str] = []


@_PRINT  # type: ignore[untyped-decorator]
def _keep_log(level: int, fmt: bytes, arguments: int) -> int:
    buffer = c.create_string_buffer(65536)
    _libc_vsnprintf(buffer, c.c_size_t(len(buffer)), fmt, c.c_void_p(arguments))
    if level <= 1:  # warnings and info
        _log.append(buffer.value.decode(errors="replace").rstrip())
    return 0


_lib.libbpf_set_print(_keep_log)


def _error(what: str, code: int | None = None) -> BpfError:
    errno = -code if code is not None and code < 0 else c.get_errno()
    return BpfError(errno, f"{what}: {os.strerror(errno)}")


class Map:
    def __init__(self, name: str, fd: int, key_size: int, value_size: int, max_entries: int):
        self.name, self.fd, self.key_size, self.value_size, self.max_entries = name, fd, key_size, value_size, max_entries

    def get(self, key: bytes) -> bytes | None:
        value = c.create_string_buffer(self.value_size)
        return value.raw if _lib.bpf_map_lookup_elem(self.fd, key, value) == 0 else None

    def set(self, key: bytes, value: bytes) -> None:
        code = _lib.bpf_map_update_elem(self.fd, key, value, 0)
        if code < 0:
            raise _error(f"update of map {self.name}", code)

    def delete(self, key: bytes) -> bool:
        return _lib.bpf_map_delete_elem(self.fd, key) == 0

    def all_keys(self) -> list[bytes]:
        """One by one, for small maps and kinds without batches (LPM tries)."""
        found, key, following = [], None, c.create_string_buffer(self.key_size)
        while _lib.bpf_map_get_next_key(self.fd, key, following) == 0:
            found.append(following.raw)
            key = following.raw
        return found

    def read(self, key: np.dtype | None = None, value: np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        """All entries by batches: (keys, values). An entry added or removed meanwhile may be missing."""
        keys, values = [], []
        size, cursor, first = 4096, c.create_string_buffer(max(self.key_size, 8)), True
        while True:
            key_buffer = np.empty(size * self.key_size, np.uint8)
            value_buffer = np.empty(size * self.value_size, np.uint8)
            n = c.c_uint32(size)
            code = _lib.bpf_map_lookup_batch(
                self.fd, None if first else cursor, cursor, key_buffer.ctypes.data, value_buffer.ctypes.data, c.byref(n), None
            )
            if code == -28:  # ENOSPC: one bucket holds more than fits
                size *= 2
                continue
            if code < 0 and code != -2:  # ENOENT: the end, with what is in the buffers
                raise _error(f"batch read of map {self.name}", code)
            keys.append(key_buffer[: n.value * self.key_size])
            values.append(value_buffer[: n.value * self.value_size])
            first = False
            if code == -2:
                break
        all_keys, all_values = np.concatenate(keys), np.concatenate(values)
        return (
            all_keys.view(key) if key is not None else all_keys.reshape(-1, self.key_size),
            all_values.view(value) if value is not None else all_values.reshape(-1, self.value_size),
        )

    def id(self) -> int:
        info = c.create_string_buffer(128)
        length = c.c_uint32(len(info))
        code = _lib.bpf_obj_get_info_by_fd(self.fd, info, c.byref(length))
        if code < 0:
            raise _error(f"info of map {self.name}", code)
        return struct.unpack_from("=II", info)[1]


class Link:
    def __init__(self, pointer: int):
        self._pointer = pointer

    @property
    def fd(self) -> int:
        return _lib.bpf_link__fd(self._pointer)

    def destroy(self) -> None:
        if self._pointer:
            _lib.bpf_link__destroy(self._pointer)
            self._pointer = 0


class CgroupLink:
    """A link without libbpf's own record of it, which knows but one attach type for each program."""

    def __init__(self, fd: int):
        self.fd = fd

    def destroy(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Walker:
    """An iterator program: each run() walks once; the bytes are what the program wrote."""

    def __init__(self, link: Link):
        self.link = link

    def run(self) -> bytes:
        fd = _lib.bpf_iter_create(self.link.fd)
        if fd < 0:
            raise _error("bpf_iter_create", fd)
        parts: list[bytes] = []
        try:
            while True:
                try:
                    part = os.read(fd, 1 << 16)
                except BlockingIOError:  # the kernel stops after a million elements and wants to be asked again
                    continue
                if not part:
                    return b"".join(parts)
                parts.append(part)
        finally:
            os.close(fd)


class Object:
    """One .bpf.o. Maps named in `shared` are taken from there, the others are added to it."""

    def __init__(
        self,
        path: Path,
        shared: dict[str, Map],
        sizes: dict[str, int],
        config: bytes,
        optional: set[str],
        unwanted: Iterable[str] = (),
    ):
        """`optional`: programs that may be refused; `refused` tells then which and why, the `unwanted` among them. BpfError."""
        self.refused: dict[str, str] = dict.fromkeys(unwanted, "not asked for")
        self._object = 0
        while True:
            try:
                self._load(path, shared, sizes, config)
                return
            except BpfError as error:
                program = self._culprit()
                _lib.bpf_object__close(self._object)
                self._object = 0
                if program not in optional or program in self.refused:
                    raise BpfError(error.errno, f"{error.strerror}; {self._reason()}") from None
                self.refused[program] = self._reason()

    def _load(self, path: Path, shared: dict[str, Map], sizes: dict[str, int], config: bytes) -> None:
        _log.clear()
        self._object = _lib.bpf_object__open_file(str(path).encode(), None)
        if not self._object:
            raise _error(f"open {path}")
        self.programs = {}
        program = _lib.bpf_object__next_program(self._object, None)
        while program:
            name = _lib.bpf_program__name(program).decode()
            self.programs[name] = program
            if name in self.refused:
                _lib.bpf_program__set_autoload(program, False)
            program = _lib.bpf_object__next_program(self._object, program)
        maps = {}
        pointer = _lib.bpf_object__next_map(self._object, None)
        while pointer:
            name = _lib.bpf_map__name(pointer).decode()
            maps[name] = pointer
            if name in shared:
                code = _lib.bpf_map__reuse_fd(pointer, shared[name].fd)
                if code < 0:
                    raise _error(f"reuse of map {name}", code)
            elif name in sizes:
                _lib.bpf_map__set_max_entries(pointer, sizes[name])
            elif name == ".rodata.config":
                if _lib.bpf_map__value_size(pointer) != len(config):
                    raise BpfError(22, f"{path.name}: struct config has another size than the loader's")
                _lib.bpf_map__set_initial_value(pointer, config, len(config))
            pointer = _lib.bpf_object__next_map(self._object, pointer)
        code = _lib.bpf_object__load(self._object)
        if code < 0:
            raise _error(f"load of {path.name}", code)
        for name, pointer in maps.items():
            if name not in shared and not name.startswith("."):
                shared[name] = Map(
                    name,
                    _lib.bpf_map__fd(pointer),
                    _lib.bpf_map__key_size(pointer),
                    _lib.bpf_map__value_size(pointer),
                    _lib.bpf_map__max_entries(pointer),
                )

    @staticmethod
    def _culprit() -> str:
        """The program libbpf's warnings complain about."""
        for line in _log:
            found = re.search(r"prog '(\w+)':", line)
            if found and ("failed" in line or "can't" in line):
                return found[1]
        return ""

    @staticmethod
    def _reason() -> str:
        lines = [line for text in _log for line in text.splitlines() if line.strip() and not line.startswith("--")]
        about = ("libbpf:", "processed ", "func#", "verification time", "stack depth")
        verdict = [line for line in lines if not line.startswith(about)]
        refusal = [line for line in lines if "load failed:" in line]
        return (verdict or refusal or lines or ["no further reason given"])[-1].removeprefix("libbpf: ")

    def attach(self, program: str) -> Link:
        return self._link(program, _lib.bpf_program__attach(self._loaded(program)))

    def put(self, program: str, programs: Map, index: int) -> None:
        """Into a table of programs, for tail calls. Raises BpfError with the kernel's reason if it was refused."""
        programs.set(struct.pack("=I", index), struct.pack("=i", _lib.bpf_program__fd(self._loaded(program))))

    def attach_cgroup(self, program: str, cgroup_fd: int, attach_type: int) -> CgroupLink:
        """`attach_type`: enum bpf_attach_type. A program may be at several."""
        fd = _lib.bpf_link_create(_lib.bpf_program__fd(self._loaded(program)), cgroup_fd, attach_type, None)
        if fd < 0:
            raise _error(f"attach of {program}", fd)
        return CgroupLink(fd)

    def iterator(self, program: str, over: Map | None = None) -> Walker:
        """`over`: the map whose elements are walked."""
        if over is None:
            return Walker(self._link(program, _lib.bpf_program__attach_iter(self._loaded(program), None)))
        info = c.create_string_buffer(struct.pack("=I", over.fd), 16)  # union bpf_iter_link_info
        options = c.create_string_buffer(struct.pack("=QQIxxxx", 24, c.addressof(info), 16), 24)
        return Walker(self._link(program, _lib.bpf_program__attach_iter(self._loaded(program), options)))

    def _loaded(self, program: str) -> int:
        """Raises BpfError with the kernel's reason if it was refused."""
        if program in self.refused:
            raise BpfError(errno.EOPNOTSUPP, self.refused[program])
        return self.programs[program]

    def _link(self, program: str, pointer: int | None) -> Link:
        if not pointer:
            raise _error(f"attach of {program}")
        return Link(pointer)

    def close(self) -> None:
        if self._object:
            _lib.bpf_object__close(self._object)
            self._object = 0


class RingBuffer:
    """BPF_MAP_TYPE_RINGBUF read through its mapping: no call and no copy per record."""

    BUSY, DISCARD = 1 << 31, 1 << 30

    def __init__(self, ring: Map):
        page, self._size = mmap.PAGESIZE, ring.max_entries
        self._consumer = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # Producer page, then the data twice in a row, so that a record never wraps.
        self._producer = mmap.mmap(ring.fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._page = page

    def records(self) -> Iterator[memoryview]:
        """What is there now; a view is valid until the next one is taken."""
        (position,) = struct.unpack_from("=Q", self._consumer)
        view = memoryview(self._producer)
        while True:
            (end,) = struct.unpack_from("=Q", self._producer)
            if position >= end:
                return
            at = self._page + position % self._size
            (header,) = struct.unpack_from("=I", self._producer, at)
            if header & self.BUSY:
                return
            length = header & ~(self.BUSY | self.DISCARD)
            if not header & self.DISCARD:
                yield view[at + 8 : at + 8 + length]
            position += (length + 8 + 7) & ~7
            struct.pack_into("=Q", self._consumer, 0, position)
