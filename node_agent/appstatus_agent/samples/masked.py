"""The first bytes of a request -> one line that tells which it was, and nothing of what was in it.

What cannot be read is not shown: the line is then the protocol's name alone. Values never pass: numbers, texts, keys, query
strings, and what looks like an identifier or a token in a path become `?` or `*`.
"""

import re
import struct
from collections.abc import Callable

MOST = 100  # characters
# A part of a path that names a kind of thing; what has digits or anything else may be one thing of many, or a token.
_KIND = re.compile(r"(?:[A-Za-z][A-Za-z_-]{0,23}|v\d{1,2})(?:\.[a-z]{2,5})?|")
_METHOD = re.compile(rb"([A-Z]{3,16}) (\S*)")
_WORD = re.compile(rb"[A-Za-z]{2,24}")
# Of SQL: what may be seen, what is hidden (what is in double quotes is a name in PostgreSQL and a text in MySQL), and gaps. Texts
# with a backslash, dollar quotes, nested or open comments, what follows a semicolon, and a text with a word right behind it (it had
# a quote in it) are none of these.
_TOKEN = re.compile(
    r"""(?P<value>(?:'[^'\\]*'|"[^"\\]*")(?!\w)|\d[\w.]*)|(?P<gap>\s+|/\*(?:(?!/\*|\*/).)*\*/)"""
    r"""|[A-Za-z_]\w*|\$\d+|`[\w$.-]*`|[-+*/%<>=!(),.:?@&|^~\[\]]""",
    re.DOTALL | re.ASCII,
)


def line(protocol: str, request: bytes) -> str:
    """At most ``MOST`` characters."""
    read = _READERS.get(protocol)
    text = read(request) if read else ""
    return f"{protocol} {text}"[:MOST].strip()


def _http(request: bytes) -> str:
    found = _METHOD.match(request)
    if not found:
        return ""
    path, question, _ = found[2].decode("ascii", "replace").partition("?")
    if not path.startswith("/"):
        return found[1].decode()
    parts = [part if _KIND.fullmatch(part) else "*" for part in path.split("/")]
    return f"{found[1].decode()} {'/'.join(parts)}{'?...' if question else ''}"


def _redis(request: bytes) -> str:
    """The command and how many arguments it has."""
    parts = request.split(b"\r\n")
    if not request.startswith(b"*") or len(parts) < 3 or not _WORD.fullmatch(parts[2]) or not parts[0][1:].isdigit():
        return ""
    return " ".join([parts[2].decode().upper(), *["?"] * min(int(parts[0][1:]) - 1, 8)])


def _postgres(request: bytes) -> str:
    """A Query's text, or that of the first Parse."""
    kind, body = request[:1], request[5:]
    if kind == b"P":
        _, _, body = body.partition(b"\0")
    return _sql(body.partition(b"\0")[0]) if kind in b"QP" and kind else ""


def _mysql(request: bytes) -> str:
    """Of COM_QUERY and COM_STMT_PREPARE."""
    return _sql(request[5:]) if request[4:5] in (b"\x03", b"\x16") else ""


def _sql(text: bytes) -> str:
    """Up to the first byte of which one cannot be sure: dialects differ in what ends a text, and the cut may have left one open."""
    statement = text.decode("utf-8", "replace")
    shown: list[str] = []
    at = 0
    while at < len(statement):
        found = _TOKEN.match(statement, at)
        if not found or statement.startswith(("--", "#"), at) or (found[0] == "/" and statement.startswith("/*", at)):
            return _printable([*shown, "?"])
        shown.append("?" if found["value"] else " " if found["gap"] else found[0])
        at = found.end()
    return _printable(shown)


def _printable(parts: list[str]) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join("".join(parts).split()))


_KAFKA = (
    "Produce", "Fetch", "ListOffsets", "Metadata", "LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown",
    "OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup", "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups",
    "ListGroups",
)  # fmt: skip


def _kafka(request: bytes) -> str:
    if len(request) < 8:
        return ""
    key, version = struct.unpack_from(">HH", request, 4)
    return f"{_KAFKA[key] if key < len(_KAFKA) else f'key {key}'} v{version}"


def _mongo(request: bytes) -> str:
    """The command, and the collection that it names."""
    found = re.match(rb"\x02([A-Za-z]{1,24})\0....([\w.-]{1,60})\0", request[25:], re.DOTALL)
    return f"{found[1].decode()} {found[2].decode()}" if found and request[12:16] == b"\xdd\x07\0\0" else ""


_MEMCACHED = {
    b"get", b"gets", b"gat", b"gats", b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"delete", b"incr", b"decr",
    b"touch", b"stats", b"version", b"flush_all", b"verbosity", b"mg", b"ms", b"md", b"ma", b"mn", b"me",
}  # fmt: skip


def _memcached(request: bytes) -> str:
    """The command and how many words follow."""
    words = request.partition(b"\r\n")[0].split()
    return " ".join([words[0].decode(), *["?"] * min(len(words) - 1, 8)]) if words and words[0] in _MEMCACHED else ""


_READERS: dict[str, Callable[[bytes], str]] = {
    "http": _http,
    "redis": _redis,
    "postgres": _postgres,
    "mysql": _mysql,
    "kafka": _kafka,
    "mongo": _mongo,
    "memcached": _memcached,
}
