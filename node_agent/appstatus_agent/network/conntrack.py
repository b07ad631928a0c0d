"""Destination translations (a Service's address -> the pod that answers) from the kernel's connection tracking, by netlink.

Layout: linux/netfilter/nfnetlink_conntrack.h. Only TCP entries with the status bit IPS_DST_NAT matter; a socket filter in the
kernel drops the events of all others, so the cost does not grow with connections that are not translated.
"""

import ctypes
import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
GROUP_NEW, GROUP_DESTROY = 1, 3
_MSG_NEW, _MSG_GET, _MSG_DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x001 | 0x300
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ATTRIBUTES_AT = _HEADER.size + 4  # behind nlmsghdr and nfgenmsg
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS = 1, 2, 3
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = (1, 3), (2, 4)  # v4, v6
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_IPS_DST_NAT = 0x20
_RECEIVE_BYTES = 4 << 20

Address = tuple[bytes, int]  # 4 or 16 bytes, port


@dataclass(frozen=True, slots=True)
class Translation:
    """A TCP connection whose destination was rewritten: `source` dialled `dialled` and talks to `actual`."""

    source: Address
    dialled: Address
    actual: Address
    ended: bool = False

    def __str__(self) -> str:
        source, dialled, actual = (f"{ipaddress.ip_address(ip)} port {port}" for ip, port in
                                   (self.source, self.dialled, self.actual))
        return f"{source} -> {dialled} = {actual}"


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, payload) of each attribute; stops at the first that does not fit."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _tuple(data: memoryview) -> tuple[Address, Address] | None:
    """Source and destination of a TCP tuple; None for other protocols and for what is incomplete."""
    source = destination = b""
    protocol = source_port = destination_port = 0
    for kind, value in _attributes(data):
        if kind == _TUPLE_IP:
            for field, ip in _attributes(value):
                if field in _IP_SRC:
                    source = bytes(ip)
                elif field in _IP_DST:
                    destination = bytes(ip)
        elif kind == _TUPLE_PROTO:
            for field, part in _attributes(value):
                if field == _PROTO_NUM and len(part) >= 1:
                    protocol = part[0]
                elif field == _PROTO_SRC_PORT and len(part) >= 2:
                    source_port = int.from_bytes(part[:2], "big")
                elif field == _PROTO_DST_PORT and len(part) >= 2:
                    destination_port = int.from_bytes(part[:2], "big")
    if protocol != socket.IPPROTO_TCP or len(source) not in (4, 16) or len(destination) != len(source):
        return None
    return (source, source_port), (destination, destination_port)


def parse(data: bytes) -> tuple[list[Translation], bool]:
    """Translations in a datagram of netlink messages, and whether it ends a dump. OSError when the kernel reports one."""
    found: list[Translation] = []
    view = memoryview(data)
    at = 0
    while at + _HEADER.size <= len(view):
        length, kind, _, _, _ = _HEADER.unpack_from(view, at)
        if length < _HEADER.size or at + length > len(view):
            break
        if kind == _NLMSG_DONE:
            return found, True
        if kind == _NLMSG_ERROR and length >= _HEADER.size + 4:
            code = -struct.unpack_from("=i", view, at + _HEADER.size)[0]
            if code:
                raise OSError(code, "the kernel refused the list of connections")
        if kind in (_MSG_NEW, _MSG_DELETE):
            translation = _translation(view[at + _ATTRIBUTES_AT : at + length], kind == _MSG_DELETE)
            if translation:
                found.append(translation)
        at += (length + 3) & ~3
    return found, False


def _translation(data: memoryview, ended: bool) -> Translation | None:
    original = reply = None
    for kind, value in _attributes(data):
        if kind == _TUPLE_ORIG:
            original = _tuple(value)
        elif kind == _TUPLE_REPLY:
            reply = _tuple(value)
        elif kind == _STATUS and len(value) == 4 and not int.from_bytes(value, "big") & _IPS_DST_NAT:
            return None
    if original is None or reply is None or original[1] == reply[0]:
        return None
    return Translation(original[0], original[1], reply[0], ended)


def dump() -> Iterator[Translation]:
    """Translations that exist now. OSError when connection tracking is not there or not allowed."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.settimeout(5)
        for family in (socket.AF_INET, socket.AF_INET6):
            sock.send(_HEADER.pack(_ATTRIBUTES_AT, _MSG_GET, _REQUEST_DUMP, 1, 0) + struct.pack("=BBH", family, 0, 0))
            done = False
            while not done:
                found, done = parse(sock.recv(1 << 18))
                yield from found


class Events:
    """New and ended translations as they happen. `fileno` for select; `lost` counts overflows of the socket."""

    def __init__(self) -> None:
        self.lost = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BYTES)  # SO_RCVBUFFORCE
        _attach_filter(self._socket)
        self._socket.bind((0, 1 << (GROUP_NEW - 1) | 1 << (GROUP_DESTROY - 1)))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Translation]:
        """Everything that waits. After an overflow the caller should `dump` again (see `lost`)."""
        found: list[Translation] = []
        while True:
            try:
                found += parse(self._socket.recv(1 << 16))[0]
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost += 1

    def close(self) -> None:
        self._socket.close()


def _attach_filter(sock: socket.socket) -> None:
    """Let only messages through whose CTA_STATUS has IPS_DST_NAT (classic BPF; see SKF_AD_NLATTR in linux/filter.h)."""
    nlattr = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: A = offset of the attribute of type X, searched from offset A
    program = (
        (0x00, 0, 0, _ATTRIBUTES_AT),  # A = where attributes begin
        (0x01, 0, 0, _STATUS),  # X = wanted type
        (0x20, 0, 0, nlattr),  # A = its offset, 0 if absent
        (0x15, 3, 0, 0),  # absent: accept, user space decides
        (0x07, 0, 0, 0),  # X = A
        (0x40, 0, 0, 4),  # A = 32 bits at X + 4, big endian
        (0x45, 0, 1, _IPS_DST_NAT),  # bit set: accept, else drop
        (0x06, 0, 0, 0xFFFFFFFF),
        (0x06, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(program), ctypes.addressof(code)))  # SO_ATTACH_FILTER
