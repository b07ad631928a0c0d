"""Captures as tshark reads them: what was said, and how many requests of which protocol ended how.

The oracles follow the table entries at the top of bpf/NAME.h: what is one request, and which answer is bad.
"""

import subprocess
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE_PORTS = 20_000  # from here on, a port says nothing of who listens


@dataclass
class Stream:
    """A TCP connection: (does the client send it?, bytes), in order; nothing twice."""

    client: str
    server: str
    segments: list[tuple[bool, bytes]] = field(default_factory=list)


def fields(capture: Path, *names: str, read: str = "", options: tuple[str, ...] = ()) -> Iterator[list[str]]:
    command = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-Y", read or "tcp", *options]
    for name in names:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        yield line.split("\t")


def streams(capture: Path) -> dict[str, Stream]:
    """By tshark's number. The server is who is connected to, else who has the lower port, else who is spoken to first."""
    found: dict[str, Stream] = {}
    next_byte: dict[tuple[str, str], int] = {}
    names = ("tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.flags.syn", "tcp.flags.ack", "tcp.payload")
    for number, source, target, seq, syn, ack, payload in fields(capture, *names):
        if number not in found:
            server = min(source, target, key=int)
            if int(server) >= PRIVATE_PORTS:
                server = target
            if syn not in ("0", "False"):
                server = target if ack in ("0", "False") else source
            found[number] = Stream(source if server == target else target, server)
        data = bytes.fromhex(payload.replace(":", ""))
        if not data:
            continue
        start, expected = int(seq), next_byte.get((number, source))
        if expected is not None:
            seen = (expected - start + (1 << 31)) % (1 << 32) - (1 << 31)
            if seen > 0:
                start, data = start + seen, data[seen:]
        if not data:
            continue
        next_byte[number, source] = (start + len(data)) % (1 << 32)
        found[number].segments.append((source == found[number].client, data))
    return {number: stream for number, stream in found.items() if stream.segments}


def expected(capture: Path, protocol: str, found: dict[str, Stream]) -> dict[str, Counter]:
    """Requests of each stream by their protocol and how they ended: ok, client_error, failed; closed = without an answer."""
    if protocol not in ORACLES:
        return {}
    ended = {}
    for number, events in ORACLES[protocol](capture, found, _decode(found, DECODED_AS[protocol])).items():
        total: Counter = Counter()
        waiting = 0
        for event in events:
            if event == "request":
                waiting += 1
            elif waiting:
                waiting -= 1
                total[protocol, event] += 1
        total[protocol, "closed"] += waiting
        ended[number] = +total
    if protocol == "http":
        ended |= _http2(capture, {number: stream for number, stream in found.items() if number not in ended})
    return ended


def _decode(found: dict[str, Stream], protocol: str) -> tuple[str, ...]:
    ports = {stream.server for stream in found.values()}
    return tuple(part for port in ports for part in ("-d", f"tcp.port=={port},{protocol}"))


def _http(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """A request is its request line, an answer its whole header; what follows may be cut by the capture's end."""
    events = []
    decode = (*decode, "-o", "http.desegment_body:FALSE")
    at_once = ("-o", "http.desegment_headers:FALSE")
    for number, frame, methods in fields(
        capture, "tcp.stream", "frame.number", "http.request.method", read="http.request", options=(*decode, *at_once)
    ):
        events += [(int(frame), number, "request")] * len(methods.split(","))
    for number, frame, codes in fields(
        capture, "tcp.stream", "frame.number", "http.response.code", read="http.response.code", options=decode
    ):
        final = [int(code) for code in codes.split(",") if int(code) >= 200 or code == "101"]
        events += [(int(frame), number, "failed" if code >= 500 else "client_error" if code >= 400 else "ok") for code in final]
    by_stream = defaultdict(list)
    for _, number, event in sorted(events, key=lambda event: event[0]):
        by_stream[number].append(event)
    return by_stream


@dataclass
class Call:
    """A stream of HTTP/2. `grpc`: None where nobody can tell; `status`: of the answer's header, 0 if that is unknown."""

    grpc: bool | None
    status: int | None = None


# Whose fault a gRPC call's status is: OpenTelemetry's rule for servers.
GRPC_SERVERS = {2, 4, 12, 13, 14, 15}


def _http2(capture: Path, found: dict[str, Stream]) -> dict[str, Counter]:
    """As bpf/http2.h says: one stream is one request. An entry of a table from before the capture is <unknown> to tshark too."""
    ended: dict[str, Counter] = defaultdict(Counter)
    calls: dict[tuple[str, str], Call] = {}
    last: dict[str, str] = {}  # the protocol of a connection's last request
    if not found:
        return ended
    command = ["tshark", "-n", "-r", str(capture), "-T", "pdml", "-Y", "http2", *_decode(found, "http2")]
    for packet in ElementTree.fromstring(subprocess.run(command, capture_output=True, check=True).stdout).iter("packet"):
        tcp = {item.get("name"): item.get("show") for item in packet.iterfind("proto[@name='tcp']//field")}
        number = tcp["tcp.stream"]
        if number not in found:
            continue
        client = tcp["tcp.srcport"] == found[number].client
        for frame in packet.iterfind("proto[@name='http2']/field[@name='http2.stream']"):
            first = {item.get("name"): item.get("show") or "" for item in reversed(list(frame.iter("field")))}
            fields_ = [
                (_shown(item, "http2.header.name"), _shown(item, "http2.header.value"))
                for item in frame.iterfind(".//field[@name='http2.header']")
            ]
            kind, id_ = first.get("http2.type"), first.get("http2.streamid", "")
            end = first.get("http2.flags.end_stream") in ("1", "True")
            whole = first.get("http2.flags.eh") in ("1", "True") or kind == "9"
            key = number, id_
            call = calls.get(key)
            if client:
                if kind == "1" and not call:
                    calls[key] = Call(_is_grpc(fields_, request=True))
                    last[number] = "grpc" if calls[key].grpc else "http"
                elif kind == "3" and call:
                    ended[number]["grpc" if call.grpc else "http", "client_error"] += 1
                    del calls[key]
            elif call and whole and kind in ("0", "1", "3", "9"):
                how = _http2_answer(call, fields_, kind, end)
                if how:
                    ended[number][how] += 1
                    del calls[key]
    for (number, _), _call in calls.items():
        ended[number][last[number], "closed"] += 1
    return ended


def _shown(item: ElementTree.Element, name: str) -> str:
    field_ = item.find(f"field[@name='{name}']")
    return "" if field_ is None else field_.get("show") or ""


def _is_grpc(fields_: list[tuple[str, str]], request: bool) -> bool | None:
    said = dict(fields_)
    if "content-type" in said:
        return said["content-type"].partition(";")[0].partition("+")[0] == "application/grpc"
    if request and said.get(":method", "POST") != "POST":
        return False
    return None if "<unknown>" in said or not fields_ else False


def _http2_answer(call: Call, fields_: list[tuple[str, str]], kind: str, end: bool) -> tuple[str, str] | None:
    """How the call ends by a frame of the server's, if it does."""
    said = dict(fields_)
    unknown = "<unknown>" in said
    first = call.status is None
    if kind == "3":
        return "grpc" if call.grpc else "http", "reset"
    if kind != "0":
        status = int(said.get(":status", 0))
        if 0 < status < 200:
            return None
        if first:
            call.status = status
        grpc = _is_grpc(fields_, request=False)
        if grpc or (call.grpc is None and grpc is False and (first or "content-type" in said)):
            call.grpc = grpc
    if call.status is None or not (end or call.grpc is False):
        return None
    whose = "client_error" if call.status // 100 == 4 else "failed" if call.status // 100 == 5 else "ok"
    if "grpc-status" in said:
        code = int(said["grpc-status"])
        return "grpc", "unknown" if code > 16 else "failed" if code in GRPC_SERVERS else "client_error" if code else "ok"
    if call.grpc:
        return "grpc", "unknown" if whose == "ok" else whose
    if call.grpc is None and unknown and kind != "0":
        if not first:
            return "grpc", "unknown"
        if call.status // 100 == 2:
            return "http", "unknown"
    return "http", whose if call.status else "unknown"


def _sql(state: str) -> str:
    """Whose error it is: bpf/sql.h."""
    clients = state[:1] in "0234" and state[:2] not in ("08", "40", "")
    return "client_error" if clients or state[:2] == "P0" else "failed"


MYSQL_UNANSWERED = ("0", "1", "17", "24", "25")  # COM_SLEEP (of bytes that are none), QUIT, CHANGE_USER, and of statements


def _mysql(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """tshark names no packet as an answer's last. Nobody asks before that came: an answer has begun, then failed or was good."""
    events = defaultdict(list)
    answers: dict[str, str] = {}
    names = ("tcp.stream", "tcp.srcport", "mysql.command", "mysql.error_code", "mysql.sqlstate")
    for number, source, commands, errors, states in fields(capture, *names, read="mysql", options=decode):
        if number not in found:
            continue
        if source == found[number].server:
            answers[number] = _sql(states.split(",")[0]) if errors else answers.get(number, "ok")
            continue
        for command in filter(None, commands.split(",")):
            if command in MYSQL_UNANSWERED:
                continue
            if events[number] and number in answers:
                events[number].append(answers[number])
            answers.pop(number, None)
            events[number].append("request")
    for number, answer in answers.items():
        if events[number]:
            events[number].append(answer)
    return events


def _postgres(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    events = defaultdict(list)
    failed: set[str] = set()
    names = ("tcp.stream", "pgsql.type", "pgsql.frontend", "pgsql.code")
    for number, types, frontend, codes in fields(capture, *names, read="pgsql", options=decode):
        # One value of pgsql.frontend for each message; messages of the beginning have no type.
        sides = frontend.split(",")
        states = iter(codes.split(","))  # of errors and notices
        for kind, client in zip(types.split(","), sides, strict=False):
            if client in ("1", "True"):
                if kind in ("Simple query", "Sync", "Function call"):
                    events[number].append("request")
            elif kind == "Notice":
                next(states, "")
            elif kind == "Error":
                state = next(states, "")
                if number not in failed:
                    events[number].append(_sql(state))
                failed.add(number)
            elif kind == "Ready for query":
                if number not in failed:
                    events[number].append("ok")
                failed.discard(number)
    return events


# The first words of errors that the client made, or that send it to another node.
REDIS_CLIENTS = ("ERR", "WRONGTYPE", "WRONGPASS", "NOAUTH", "NOPERM", "NOSCRIPT", "NOPROTO", "EXECABORT", "MOVED", "ASK",
                 "CROSSSLOT", "NOTBUSY", "BUSYKEY", "BUSYGROUP")  # fmt: skip


def _redis_error(text: str) -> str:
    return "client_error" if text.partition(" ")[0].strip() in REDIS_CLIENTS else "failed"


def _redis(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """Values at top level. An answer that the capture's end cuts has begun, and ends its request (tshark shows none)."""
    events = defaultdict(list)
    undecoded: dict[str, bytes] = {}
    command = ["tshark", "-n", "-r", str(capture), "-T", "pdml", "-Y", "tcp.len > 0", *decode]
    document = subprocess.run(command, capture_output=True, check=True).stdout
    for packet in ElementTree.fromstring(document).iter("packet"):
        tcp = {item.get("name"): item.get("show") for item in packet.iterfind("proto[@name='tcp']//field")}
        number = tcp["tcp.stream"]
        if number not in found:
            continue
        client = tcp["tcp.srcport"] == found[number].client
        items = [item for proto in packet.iterfind("proto[@name='resp']") for item in proto]
        values = [(item.get("name"), item.get("show") or "") for item in items]
        values = [(name, text) for name, text in values if name.count(".") == 1 and name not in ("resp.fragment",)]
        if client:
            events[number] += ["request"] * len(values)
        else:
            events[number] += [_redis_error(text) if name == "resp.error" else "ok" for name, text in values]
            if values:
                undecoded.pop(number, None)
            else:
                undecoded.setdefault(number, bytes.fromhex((tcp.get("tcp.payload") or "").replace(":", "")))
    for number, first in undecoded.items():
        if first[:1] in b"+-:$*_#,(!=%~":
            error = first[1:].partition(b"\r\n")[0].decode(errors="replace") if first[:1] in b"-!" else ""
            events[number].append(_redis_error(error) if error else "ok")
    return events


# NOT_COORDINATOR, what a group's members make by coming and going, no rights, and wrong requests.
KAFKA_CLIENTS = {16, *range(22, 28), 29, 30, 31, 35, 42, 43, *range(47, 52), 70, 71, 81, 82, 90}


def _kafka(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """A frame each; the answer's code where bpf/kafka.h reads one and tshark knows the version."""
    coded = {1: 12, 11: 6, 12: 4, 13: 4, 14: 4, 22: 2}
    events = defaultdict(list)
    asked: dict[tuple[str, str], bool] = {}
    names = ("api_key", "api_version", "correlation_id", "required_acks", "error")
    names = ("tcp.stream", "tcp.srcport", *(f"kafka.{name}" for name in names))
    for number, source, keys, versions, ids, acks, codes in fields(capture, *names, read="kafka", options=decode):
        if number not in found:
            continue
        if source != found[number].client:
            for id_ in ids.split(","):
                code = codes.split(",")[0] if asked.pop((number, id_), False) else ""
                clients = "client_error" if code and int(code) in KAFKA_CLIENTS else "failed"
                events[number].append("ok" if code in ("", "0", "79") else clients)
            continue
        needs = iter(acks.split(","))
        for key, version, id_ in zip(keys.split(","), versions.split(","), ids.split(","), strict=True):
            events[number].append("request")
            if key == "0" and next(needs) == "0":
                events[number].append("ok")
            asked[number, id_] = int(version) >= coded.get(int(key), 1 << 16)
    return events


MONGO_UNANSWERED = {"2001", "2002", "2006", "2007"}  # of the old opcodes: update, insert, delete, kill cursors
MONGO_CLIENTS = {2, 9, 11, 13, 14, 16, 18, 20, 26, 27, 28, 40, 43, 48, *range(52, 58), 59, 66, 67, 72, 85, 86, 121, 11000}


def _mongo_outcome(names: list[str], numbers: dict[str, str]) -> str:
    """Of an answer's fields: an error begins with ``ok``, 0, and has its code behind; wrong writes are in a list of their own."""
    code = numbers.get("code", "")
    if (names[:1] == ["ok"] and float(numbers.get("ok", "1")) == 0) or "writeErrors" in names:
        return "client_error" if code and (int(code) in MONGO_CLIENTS or int(code) > 15900) else "failed"
    return "ok"


def _mongo(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """Frames; the numbers among an answer's fields in their order (names of a document's documents come among them)."""
    types = {"0x01": "double", "0x10": "int", "0x12": "int64"}
    events = defaultdict(list)
    names = ("opcode", "msg.flags.moretocome", "reply.flags.queryfailure", "element.name", "element.type")
    names = (*names, *(f"element.value.{kind}" for kind in types.values()))
    names = ("tcp.stream", "tcp.srcport", *(f"mongo.{name}" for name in names))
    for number, source, opcodes, more, failure, fields_, kinds, *values in fields(capture, *names, read="mongo", options=decode):
        if number not in found:
            continue
        if source == found[number].client:
            unanswered = iter(more.split(","))
            for opcode in opcodes.split(","):
                events[number].append("request")
                if opcode in MONGO_UNANSWERED or (opcode == "2013" and next(unanswered, "") in ("1", "True")):
                    events[number].append("ok")
            continue
        rows_ = {kind: iter(row.split(",")) for kind, row in zip(types.values(), values, strict=True)}
        elements = fields_.split(",")
        numbers: dict[str, str] = {}
        for name, kind in zip(elements, kinds.split(","), strict=False):
            if kind in types:
                numbers.setdefault(name, next(rows_[types[kind]], "0"))
        for opcode in opcodes.split(","):
            outcome = "failed" if opcode == "1" and failure in ("1", "True") else _mongo_outcome(elements, numbers)
            events[number].append("unknown" if opcode == "2012" else "ok" if opcode == "1" and outcome != "failed" else outcome)
    return events


MEMCACHED_STORES = {b"set", b"add", b"replace", b"append", b"prepend", b"cas"}
MEMCACHED_QUIET = {0x09, 0x0D, *range(0x11, 0x1B), 0x1E, 0x24}


def _memcached(capture: Path, found: dict[str, Stream], decode: tuple[str, ...]) -> dict[str, list[str]]:
    """Read here: tshark's dissector names an answer only where its last line begins a segment. What the capture's end cuts is no
    message yet."""
    events = {}
    for number, stream in found.items():
        asked, answered = (b"".join(data for client, data in stream.segments if client == side) for side in (True, False))
        events[number] = [*_memcached_requests(asked), *_memcached_answers(answered)]
    return events


def _memcached_requests(data: bytes) -> Iterator[str]:
    while data:
        if data[0] == 0x80:
            if len(data) < 24:
                return
            if data[1] not in MEMCACHED_QUIET:
                yield "request"
            data = data[24 + int.from_bytes(data[8:12]) :]
            continue
        line, end, data = data.partition(b"\r\n")
        words = line.split()
        if not end or not words:
            return
        if words[0] != b"quit":
            yield "request"
            if words[-1] == b"noreply":
                yield "ok"
        if words[0] in MEMCACHED_STORES or words[0] == b"ms":
            data = data[int(words[2 if words[0] == b"ms" else 4]) + 2 :]


def _memcached_answers(data: bytes) -> Iterator[str]:
    while data:
        if data[0] == 0x81:
            if len(data) < 24:
                return
            status, keys = int.from_bytes(data[6:8]), int.from_bytes(data[2:4])
            if data[1] not in MEMCACHED_QUIET and not (data[1] == 0x10 and keys):
                yield "failed" if status >= 0x82 else "client_error" if status in (3, 4, 6, 8, 0x20, 0x81) else "ok"
            data = data[24 + int.from_bytes(data[8:12]) :]
            continue
        line, end, data = data.partition(b"\r\n")
        if not end and len(line) < 8:
            return
        word = line.split(b" ")[0]
        if word in (b"VALUE", b"VA"):
            data = data[int(line.split()[3 if word == b"VALUE" else 1]) + 2 :]
        if word not in (b"VALUE", b"STAT", b"ITEM"):
            clients = word in (b"ERROR", b"CLIENT_ERROR", b"ME")
            yield "failed" if word == b"SERVER_ERROR" else "client_error" if clients else "ok"


ORACLES = {
    "http": _http, "kafka": _kafka, "memcached": _memcached, "mongo": _mongo, "mysql": _mysql, "postgres": _postgres,
    "redis": _redis,
}  # fmt: skip
DECODED_AS = {
    "http": "http", "kafka": "kafka", "memcached": "memcache", "mongo": "mongo", "mysql": "mysql", "postgres": "pgsql",
    "redis": "resp",
}  # fmt: skip
