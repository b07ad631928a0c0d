# SPDX-License-Identifier: Apache-2.0
"""Protocols beside HTTP, told by bytes: the same life of a request, whatever its bytes look like.

One entry of PROTOCOLS for each; every test runs on all of them.
"""

import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from appstatus_agent.kernel import rows
from talk import Talk, requests_of, reset, settle

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number & 255]) + body


def mysql_end(status: int = 2) -> bytes:
    """EOF, as before MySQL 5.7.5."""
    return b"\xfe\0\0" + status.to_bytes(2, "little")


EOF = mysql_end()
MYSQL_OK = b"\0\0\0\2\0\0\0"
COLUMN = b"\3def\0\1t\1t\1a\1a\x0c\x3f\0\1\0\0\0\xfd\0\0\0\0\0"
READY = frame(b"Z", b"I")
SYNC = frame(b"S")


@dataclass(frozen=True)
class Protocol:
    name: str
    ask: bytes
    good: bytes
    bad: bytes
    refused: bytes  # an error that the client made
    long: tuple[bytes, bytes]  # request and answer that wait by intent
    begin: tuple[tuple[bytes, bytes], ...] = ()  # what goes before the first request: client, server
    numbered: Callable[[bytes, int], bytes] = lambda message, number: message  # the message, of request or answer `number`

    def many(self, *messages: bytes) -> bytes:
        """In a row, each of another request."""
        return b"".join(self.numbered(message, number) for number, message in enumerate(messages))


REDIS = Protocol(
    "redis", resp(b"GET", b"cart:7"), b"$5\r\na\r\nbc\r\n", b"-LOADING the dataset\r\n", b"-ERR wrong number of arguments\r\n",
    (resp(b"BLPOP", b"queue", b"0"), resp(b"queue", b"x")),
)
POSTGRES = Protocol(
    "postgres", frame(b"Q", b"select 1\0"),
    frame(b"T", b"\0\1a\0" + bytes(18)) + frame(b"D", b"\0\1\0\0\0\1" + b"1") + frame(b"C", b"SELECT 1\0") + READY,
    frame(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0") + READY,
    frame(b"E", b"SERROR\0VERROR\0C42P01\0Mno such table\0\0") + READY,
    (frame(b"Q", b"START_REPLICATION 0/0\0"), frame(b"W", b"\0\0\0")),
    (((33).to_bytes(4) + b"\0\3\0\0user\0shop\0database\0shop\0\0", frame(b"R", bytes(4)) + frame(b"K", bytes(8)) + READY),),
)  # fmt: skip
MYSQL = Protocol(
    "mysql", packet(0, b"\3select a from t"),
    b"".join((packet(1, b"\1"), packet(2, COLUMN), packet(3, EOF), packet(4, b"\1x"), packet(5, b"\xfb"), packet(6, EOF))),
    packet(1, b"\xff\xb5\x04#HY000Lock wait timeout exceeded"),
    packet(1, b"\xff\x7a\x04#42S02Table 'shop.t' doesn't exist"),
    (packet(0, b"\x12" + bytes(10) + b"binlog.000001"), packet(1, b"\0" + bytes(40)) + packet(2, b"\0" + bytes(200)) * 3),
    ((b"", packet(0, b"\x0a8.0.26\0" + bytes(66))), (packet(1, b"\x85\xa6\xff\x09" + bytes(60)), packet(2, MYSQL_OK))),
)


def kafka(key: int, version: int, body: bytes, name: bytes = b"cart") -> bytes:
    """A request."""
    header = key.to_bytes(2) + version.to_bytes(2) + (7).to_bytes(4) + len(name).to_bytes(2) + name
    return (len(header) + len(body)).to_bytes(4) + header + body


def kafka_answer(body: bytes) -> bytes:
    return (4 + len(body)).to_bytes(4) + (7).to_bytes(4) + body


def kafka_code(code: int) -> bytes:
    """An answer of a flexible version: no tags, no throttling, then the code."""
    return kafka_answer(bytes(5) + code.to_bytes(2) + bytes(1))


KAFKA = Protocol(
    "kafka", kafka(12, 4, b"\0\5shop\0\0\0\1\2m\0\0"), kafka_code(0), kafka_code(15), kafka_code(25),
    (kafka(1, 12, b"\0\xff\xff\xff\xff\0\0\1\xf4" + bytes(20)), kafka_code(0)),
)


def mongo(opcode: int, body: bytes, answers: int = 0) -> bytes:
    """A frame."""
    numbers = (16 + len(body), 7, answers, opcode)
    return b"".join(n.to_bytes(4, "little") for n in numbers) + body


def bson(**fields: object) -> bytes:
    """A document of numbers, texts, documents and lists of documents."""
    body = b""
    for name, value in fields.items():
        at = name.encode() + b"\0"
        match value:
            case float():
                body += b"\x01" + at + struct.pack("<d", value)
            case int():
                body += b"\x10" + at + value.to_bytes(4, "little")
            case str():
                body += b"\x02" + at + (len(value) + 1).to_bytes(4, "little") + value.encode() + b"\0"
            case dict():
                body += b"\x03" + at + bson(**value)
            case list():
                body += b"\x04" + at + bson(**{str(i): item for i, item in enumerate(value)})
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


def mongo_msg(flags: int = 0, answers: int = 0, **fields: object) -> bytes:
    return mongo(2013, flags.to_bytes(4, "little") + b"\0" + bson(**fields), answers)


def mongo_error(code: int, text: str) -> bytes:
    return mongo_msg(answers=7, ok=0.0, errmsg=text, code=code, codeName="X")


FOUND = {"firstBatch": [{"_id": 1, "name": "cart"}], "id": 0, "ns": "shop.carts"}
MONGO = Protocol(
    "mongo", mongo_msg(find="carts", filter={"name": "drpanda"}), mongo_msg(answers=7, cursor=FOUND, ok=1.0),
    mongo_error(189, "not primary any more"), mongo_error(59, "no such command: 'fnd'"),
    (mongo_msg(getMore=7, collection="carts"), mongo_msg(answers=7, cursor=FOUND, ok=1.0)),
)  # fmt: skip

HEADERS, SETTINGS = 1, 4
END_STREAM, END_HEADERS = 1, 4


def h2(kind: int, flags: int = 0, body: bytes = b"", stream: int = 1) -> bytes:
    """A frame of HTTP/2."""
    return len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body


def field(name: bytes | int, value: bytes) -> bytes:
    """A literal that enters no table; the name's index is below 15, or 31."""
    begin = b"\0" + bytes([len(name)]) + name if isinstance(name, bytes) else b"\x0f\x10" if name == 31 else bytes([name])
    return begin + bytes([len(value)]) + value


def on_stream(frames: bytes, number: int) -> bytes:
    """The same on the client's stream of that number."""
    at = 0
    while at < len(frames):
        if int.from_bytes(frames[at + 5 : at + 9]):
            frames = frames[: at + 5] + (2 * number + 1).to_bytes(4) + frames[at + 9 :]
        at += 9 + int.from_bytes(frames[at : at + 3])
    return frames


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_BEGIN = ((PREFACE + h2(SETTINGS, stream=0), h2(SETTINGS, 0, bytes(6), 0) + h2(SETTINGS, 1, stream=0)),)
WHOLE = END_STREAM | END_HEADERS
GET, POST = b"\x82\x84\x86" + field(1, b"shop:8080"), b"\x83\x84\x86" + field(1, b"shop:8080")
OF_GRPC = field(31, b"application/grpc+proto")


def grpc_end(status: int, begin: bytes = b"") -> bytes:
    return h2(HEADERS, WHOLE, begin + field(b"grpc-status", b"%d" % status))


HTTP2 = Protocol(
    "http", h2(HEADERS, WHOLE, GET), h2(HEADERS, END_HEADERS, b"\x88") + h2(0, END_STREAM, b"hello"),
    h2(HEADERS, WHOLE, b"\x8e"), h2(HEADERS, WHOLE, b"\x8d"),
    (h2(HEADERS, END_HEADERS, POST), h2(HEADERS, END_HEADERS, b"\x88") + h2(0, 0, b"one") + h2(0, END_STREAM)),
    H2_BEGIN, on_stream,
)  # fmt: skip
GRPC = Protocol(
    "grpc", h2(HEADERS, END_HEADERS, POST + OF_GRPC) + h2(0, END_STREAM, b"\0\0\0\0\5hello"),
    h2(HEADERS, END_HEADERS, b"\x88" + OF_GRPC) + h2(0, 0, b"\0\0\0\0\5hello") + grpc_end(0),
    grpc_end(14, b"\x88" + OF_GRPC), grpc_end(5, b"\x88" + OF_GRPC),
    (h2(HEADERS, END_HEADERS, POST + OF_GRPC), h2(HEADERS, END_HEADERS, b"\x88" + OF_GRPC) + h2(0, 0, b"one") * 3 + grpc_end(0)),
    H2_BEGIN, on_stream,
)  # fmt: skip
MEMCACHED = Protocol(
    "memcached", b"get cart:7 cart:8\r\n", b"VALUE cart:7 0 9\r\nEND\r\n1234\r\nEND\r\n",
    b"SERVER_ERROR out of memory storing object\r\n", b"CLIENT_ERROR bad data chunk\r\n", (b"", b""),
)  # fmt: skip
PROTOCOLS = [REDIS, POSTGRES, MYSQL, KAFKA, MEMCACHED, MONGO, HTTP2, GRPC]
BY_STREAM = (HTTP2, GRPC)


def name_of(protocol: Protocol) -> str:
    return "http2" if protocol is HTTP2 else protocol.name


each = pytest.mark.parametrize("protocol", PROTOCOLS, ids=name_of)


def begin(talk: Talk, protocol: Protocol) -> None:
    for ask, answer in protocol.begin:
        if ask:
            talk.ask(ask)
        talk.answer(answer)


def check(kernel, owners, protocol: str, counts: dict, latencies: int | None = None, ends=("client", "server")) -> None:
    """`counts` by the statuses that such a protocol knows; of both ends."""
    if latencies is None:
        latencies = counts.get("ok", 0) + counts.get("client_error", 0)
    for end in ends:
        got = requests_of(kernel, owners.ids[end])
        ended = {rows.OK_OR_FAILED.get(status, status): n for status, n in got.ended.items()}
        assert ended == counts, f"{end}: {ended}, not {counts}"
        assert got.latencies == latencies, f"{end}: {got.latencies} latencies"
        assert {rows.PROTOCOLS[row["key"]["protocol"]] for row in got.rows} <= {protocol}, end


@each
@pytest.mark.parametrize("begun", [True, False], ids=["whole", "from its middle"])
def test_good_and_bad(kernel, owners, protocol, begun):
    talk = Talk(owners).open()
    if begun:
        begin(talk, protocol)
    for answer in (protocol.good, protocol.bad, protocol.refused, protocol.good):
        talk.ask(protocol.ask)
        talk.answer(answer)
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 2, "failed": 1, "client_error": 1})


@each
def test_byte_by_byte(kernel, owners, protocol):
    talk = Talk(owners).open()
    for ask, answer in (*protocol.begin, *((protocol.ask, answer) for answer in (protocol.good, protocol.bad, protocol.refused))):
        for at in range(len(ask)):
            talk.ask(ask[at : at + 1])
        for at in range(len(answer)):
            talk.answer(answer[at : at + 1])
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 1, "failed": 1, "client_error": 1})


@each
def test_cut_anywhere(kernel, owners, protocol):
    talk = Talk(owners).open()
    begin(talk, protocol)
    asks, answers = protocol.many(*[protocol.ask] * 3), protocol.many(protocol.good, protocol.bad, protocol.refused)
    n = max(len(asks), len(answers))
    for at in range(1, n):
        for data, send in ((asks, talk.ask), (answers, talk.answer)):
            for part in (data[:at], data[at:]):
                if part:
                    send(part)
    talk.close()
    check(kernel, owners, protocol.name, {"ok": n - 1, "failed": n - 1, "client_error": n - 1})


@each
def test_pipelined(kernel, owners, protocol):
    """Beyond what is remembered, requests count without latency, and Kafka's without their code, whose place the request tells."""
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.many(*[protocol.ask] * 50))
    talk.answer(protocol.many(*[protocol.good] * 49, protocol.bad))
    talk.close()
    counts = {"ok": 50} if protocol is KAFKA else {"ok": 49, "failed": 1}
    check(kernel, owners, protocol.name, counts, latencies=49 if protocol in BY_STREAM else 4)


@each
def test_segment_beyond_what_is_read(kernel, owners, protocol):
    """Thousands at once: each counts, or ends as unknown."""
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.many(*[protocol.ask] * 2000))
    talk.answer(protocol.many(*[protocol.good] * 2000))
    talk.ask(protocol.ask)
    talk.answer(protocol.good)
    talk.close()
    for end in ("client", "server"):
        ended = requests_of(kernel, owners.ids[end]).ended
        least = 40 if protocol in BY_STREAM else 100
        assert set(ended) <= {"2xx", "unknown"} and least < sum(ended.values()) <= 2001, f"{end}: {ended}"


@each
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_no_answer(kernel, owners, protocol, how):
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.ask)
    talk.answer(protocol.good)
    talk.ask(protocol.ask)
    if how == "reset":
        reset(talk.server)
    else:
        talk.server.close()
    settle()
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 1, how: 1}, ends=["client"])
    check(kernel, owners, protocol.name, {"ok": 1, "closed": 1}, ends=["server"])  # its own doing, either way


@each
def test_latency_to_the_first_byte_of_the_answer(kernel, owners, protocol):
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.ask[:-3])
    time.sleep(0.3)
    talk.ask(protocol.ask[-3:])
    time.sleep(0.1)
    talk.answer(protocol.good[:6])
    time.sleep(0.3)
    talk.answer(protocol.good[6:])
    talk.close()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert got.latencies == 1 and 0.1 <= got.seconds < 0.25, f"{end}: {got.seconds:.3f} s"


@each
def test_overdue_and_in_flight(kernel, owners, protocol):
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.ask)
    assert requests_of(kernel, owners.ids["server"]).in_flight == 1
    time.sleep(2.2)
    kernel.sweep()
    talk.answer(protocol.good)
    talk.ask(protocol.ask)
    talk.answer(protocol.good)
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 1, "overdue": 1})


@pytest.mark.parametrize("protocol", [protocol for protocol in PROTOCOLS if protocol.long[0]], ids=name_of)
def test_long_by_intent(kernel, owners, protocol):
    talk = Talk(owners).open()
    begin(talk, protocol)
    ask, answer = protocol.long
    talk.ask(ask)
    if protocol is not POSTGRES:
        time.sleep(2.2)
        kernel.sweep()
    talk.answer(answer)
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 1}, latencies=0)


@each
@pytest.mark.parametrize("cut", [None, 1, 4])
def test_agent_starts_later(late, owners, protocol, cut):
    """Open for long, and idle: the next request tells. One that the agent's start cuts counts as nothing."""
    talk = Talk(owners).open()
    begin(talk, protocol)
    talk.ask(protocol.ask)
    talk.answer(protocol.good)
    if cut:
        talk.ask(protocol.ask[:cut])
    kernel = late()
    if cut:
        talk.ask(protocol.ask[cut:])
        talk.answer(protocol.good)
    for answer in (protocol.good, protocol.bad):
        talk.ask(protocol.ask)
        talk.answer(answer)
    talk.close()
    check(kernel, owners, protocol.name, {"ok": 1, "failed": 1})


def test_noise_is_no_protocol(kernel, owners):
    """Bytes that mean nothing, from either side first, and behind the first byte of every message that somebody knows."""
    noise = random.Random(4)
    for first in (b"", *(bytes([c]) for c in range(256))):
        talk = Talk(owners).open()
        for send in noise.sample([talk.ask, talk.answer] * 4, 8):
            send(first + noise.randbytes(noise.choice([1, 7, 60, 1400])))
        talk.close()
    for end in ("client", "server"):
        assert requests_of(kernel, owners.ids[end]).ended == {}, end


def test_redis_values(kernel, owners):
    """Every sort of answer, nested, empty, none; errors inside of an answer are none of it."""
    answers = [
        b"+OK\r\n", b":-17\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$0\r\n\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n",
        b"(3492890328409238509324850943850\r\n",
        b"=5\r\ntxt:a\r\n", b"*2\r\n*3\r\n:1\r\n$1\r\na\r\n*-1\r\n%1\r\n+a\r\n*1\r\n-ERR x\r\n", b"~2\r\n+a\r\n+b\r\n",
        b">2\r\n+message\r\n$3\r\nabc\r\n+OK\r\n", b"$70000\r\n" + b"-" * 70000 + b"\r\n",
    ]  # fmt: skip
    bad = [b"-E\r\n", b"-" + b"x" * 3000 + b"\r\n", b"!5\r\nERR x\r\n", b"-BUSY a script\r\n"]
    refused = [b"-ERR x\r\n", b"-WRONGTYPE x\r\n", b"-MOVED 1 a:1\r\n", b"-BUSYKEY x\r\n"]
    talk = Talk(owners).open()
    for answer in answers + bad + refused:
        talk.ask(resp(b"CMD", b"x" * 10))
        talk.answer(answer)
    talk.ask(b"PING\r\n")
    talk.answer(b"+PONG\r\n")
    talk.close()
    check(kernel, owners, "redis", {"ok": len(answers) + 1, "failed": len(bad), "client_error": len(refused)})


def test_redis_subscriber(kernel, owners):
    talk = Talk(owners).open()
    talk.ask(resp(b"subscribe", b"news"))
    talk.answer(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
    for _ in range(3):
        talk.answer(resp(b"message", b"news", b"-ERR"))
    talk.close()
    check(kernel, owners, "redis", {"ok": 1}, latencies=0)


def test_postgres_extended(kernel, owners):
    """What a Sync ends is one request, whatever it holds; the error may come before the Sync."""
    begins = frame(b"P", b"\0select 1\0\0\0") + frame(b"B", b"\0\0" + bytes(8)) + frame(b"D", b"P\0")
    begins += frame(b"E", b"\0" + bytes(4))
    answers = frame(b"1") + frame(b"2") + frame(b"n") + frame(b"C", b"SELECT 0\0")
    talk = Talk(owners).open()
    begin(talk, POSTGRES)
    talk.ask(begins + SYNC)
    talk.answer(answers + READY)
    talk.ask(begins)
    talk.answer(frame(b"E", b"SERROR\0C22012\0\0"))
    talk.ask(SYNC)
    talk.answer(READY)
    talk.ask((begins + SYNC) * 2)
    talk.answer(frame(b"E", b"SERROR\0C22012\0\0") + READY + answers + READY)
    talk.close()
    check(kernel, owners, "postgres", {"ok": 2, "client_error": 2})


def test_postgres_errors_by_class(kernel, owners):
    """Whoever's mistake the first two characters name; without a code, or with a field as long as a message, the server's."""
    codes = {"22012": "client_error", "23505": "client_error", "0A000": "client_error", "P0001": "client_error", "40P01": "failed",
             "08006": "failed", "53300": "failed", "55P03": "failed", "57014": "failed", "XX000": "failed", "72000": "failed"}
    talk = Talk(owners).open()
    begin(talk, POSTGRES)
    for code in codes:
        talk.ask(POSTGRES.ask)
        talk.answer(frame(b"E", b"SERROR\0VERROR\0C" + code.encode() + b"\0Mx\0\0") + READY)
    for fields in (b"SERROR\0Mx\0\0", b"\0", b"S" + b"C42" * 1000 + b"\0C57014\0\0"):
        talk.ask(POSTGRES.ask)
        talk.answer(frame(b"E", fields) + READY)
    talk.close()
    refused = list(codes.values()).count("client_error")
    check(kernel, owners, "postgres", {"client_error": refused, "failed": len(codes) - refused + 3})


@pytest.mark.parametrize("granted", [True, False])
def test_postgres_asks_for_tls(kernel, owners, granted):
    talk = Talk(owners).open()
    talk.ask((8).to_bytes(4) + (80877103).to_bytes(4))
    talk.answer(b"S" if granted else b"N")
    begin(talk, POSTGRES)
    talk.ask(POSTGRES.ask)
    talk.answer(POSTGRES.good)
    talk.close()
    check(kernel, owners, "postgres", {} if granted else {"ok": 1})


def test_postgres_copy(kernel, owners):
    """The data that COPY FROM STDIN takes is its request going on: no wait of the server's."""
    talk = Talk(owners).open()
    begin(talk, POSTGRES)
    talk.ask(frame(b"Q", b"copy t from stdin\0"))
    talk.answer(frame(b"G", bytes(3)))
    talk.ask(frame(b"d", b"1\n") * 3)
    time.sleep(2.2)
    kernel.sweep()
    talk.ask(frame(b"c"))
    talk.answer(frame(b"C", b"COPY 3\0") + READY)
    talk.close()
    check(kernel, owners, "postgres", {"ok": 1}, latencies=0)


@pytest.mark.parametrize(("version", "before_acks"), [(2, b""), (8, b"\xff\xff"), (8, b"\0\3abc"), (9, b"\0\0"), (9, b"\0\4abc")])
def test_kafka_produce(kernel, owners, version, before_acks):
    """Without acks nothing comes back: good at once, and never what the next answer is for. Cut anywhere."""
    without = kafka(0, version, before_acks + b"\0\0" + bytes(40))
    asks = kafka(0, version, before_acks + b"\xff\xff" + bytes(40))
    answer = kafka_answer(bytes(30))
    talk = Talk(owners).open()
    for at in range(1, len(without)):
        talk.ask(without[:at])
        talk.ask(without[at:] + asks)
        talk.answer(answer)
    talk.ask(without + asks + without)
    talk.answer(answer)
    talk.close()
    n = len(without)
    check(kernel, owners, "kafka", {"ok": 2 * n + 1}, latencies=n)


def test_kafka_join(kernel, owners):
    """That a member needs an id is how each joins; an older version's answer is not read."""
    talk = Talk(owners).open()
    for version, code in ((6, 79), (6, 25), (2, 25), (6, 15)):
        talk.ask(kafka(11, version, bytes(20)))
        talk.answer(kafka_code(code))
    talk.close()
    check(kernel, owners, "kafka", {"ok": 2, "client_error": 1, "failed": 1}, latencies=0)


def test_kafka_raw_tokens(kernel, owners):
    """After the first SaslHandshake nobody can tell tokens from requests."""
    talk = Talk(owners).open()
    talk.ask(KAFKA.ask)
    talk.answer(KAFKA.good)
    talk.ask(kafka(17, 0, b"\0\6GSSAPI"))
    talk.answer(kafka_answer(bytes(8)))
    talk.ask(KAFKA.ask)
    talk.answer(KAFKA.good)
    talk.close()
    check(kernel, owners, "kafka", {"ok": 1})


def test_mongo_answers(kernel, owners):
    """Where a small document tells that it is an error; and what needs no answer, or may not be looked into."""
    good = [mongo_msg(answers=7, n=1, ok=1.0), mongo_msg(answers=7, cursor={"firstBatch": [{"text": "x" * 9000}]}, ok=1.0),
            mongo_msg(answers=7, ok=1.0, code=11000), mongo(1, bytes(20) + bson(ismaster=1, ok=1.0), 7)]  # fmt: skip
    duplicate = [{"index": 0, "code": 11000, "errmsg": "E11000 duplicate key"}]
    refused = [mongo_msg(answers=7, n=0, writeErrors=duplicate, ok=1.0), mongo_error(11000, "x" * 3000), mongo_error(16500, "")]
    bad = [mongo_error(189, ""), mongo_error(91, "shutting down" * 300), mongo_msg(answers=7, ok=0, errmsg="no code"),
           mongo_msg(answers=7, n=0, writeErrors=[{"index": 0, "code": 112, "errmsg": "conflict"}], ok=1.0),
           mongo(1, b"\2" + bytes(19) + bson(**{"$err": "x"}), 7)]  # fmt: skip
    talk = Talk(owners).open()
    for answer in (*good, *refused, *bad):
        talk.ask(MONGO.ask)
        talk.answer(answer)
    talk.ask(mongo_msg(flags=2, insert="carts"))
    talk.ask(mongo(2002, bytes(4) + b"shop.carts\0" + bson(a=1)))
    talk.ask(mongo(2012, (2013).to_bytes(4, "little") + (90).to_bytes(4, "little") + b"\2" + bytes(70)))
    talk.answer(mongo(2012, (2013).to_bytes(4, "little") + (90).to_bytes(4, "little") + b"\2" + bytes(70), 7))
    talk.close()
    latencies = len(good) + len(refused)
    counts = {"ok": len(good) + 2, "client_error": len(refused), "failed": len(bad), "unknown": 1}
    check(kernel, owners, "mongo", counts, latencies=latencies)


def test_mongo_exhaust(kernel, owners):
    """An answer that more come behind is one."""
    talk = Talk(owners).open()
    talk.ask(mongo_msg(flags=1 << 16, hello=1, maxAwaitTimeMS=10000))
    for _ in range(3):
        talk.answer(mongo_msg(flags=2, answers=7, isWritablePrimary=1, ok=1.0))
    talk.ask(MONGO.ask)
    talk.answer(MONGO.good)
    talk.close()
    check(kernel, owners, "mongo", {"ok": 2}, latencies=1)


def test_memcached_text(kernel, owners):
    """Every sort of command and of answer, what asks for no answer among them."""
    answered = [
        (b"set a 0 0 5\r\nEND\r\n\r\n", b"STORED\r\n"),
        (b"cas a 1 0 3 77\r\nabc\r\n", b"EXISTS\r\n"),
        (b"add b 0 60 0\r\n\r\n", b"NOT_STORED\r\n"),
        (b"gets a\r\n", b"VALUE a 0 5 77\r\nEND\r\n\r\nEND\r\n"),
        (b"get " + b"k" * 250 + b"\r\n", b"END\r\n"),
        (b"gat 30 a\r\n", b"VALUE a 0 70000\r\n" + b"x" * 70000 + b"\r\nEND\r\n"),
        (b"incr a 1\r\n", b"17\r\n"),
        (b"touch a 3\r\n", b"NOT_FOUND\r\n"),
        (b"stats\r\n", b"STAT pid 7\r\nSTAT version 1.6.18 and more words\r\nEND\r\n"),
        (b"version\r\n", b"VERSION 1.6.18\r\n"),
        (b"mg a v\r\n", b"VA 7 f0\r\nEN\r\nEN\r\n\r\n"),
        (b"mg b v\r\n", b"EN\r\n"),
        (b"ms a 3 T0\r\nabc\r\n", b"HD\r\n"),
        (b"mn\r\n", b"MN\r\n"),
    ]
    refused = [(b"incr b x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"), (b"verbosity\r\n", b"ERROR\r\n")]
    talk = Talk(owners).open()
    for ask, answer in answered + refused:
        talk.ask(ask)
        talk.answer(answer)
    talk.ask(b"set a 0 0 4 noreply\r\nget \r\ndelete a noreply\r\nget a\r\n")
    talk.answer(b"END\r\n")
    talk.ask(b"get noreply\r\nset noreply 0 0 1\r\nx\r\nset noreplying 0 0 1\r\nx\r\nflush_all noreply\r\nget a\r\n")
    talk.answer(b"END\r\nSTORED\r\nSTORED\r\nSERVER_ERROR x\r\n")
    talk.ask(b"quit\r\n")
    talk.close()
    counts = {"ok": len(answered) + 7, "client_error": len(refused), "failed": 1}
    check(kernel, owners, "memcached", counts, latencies=len(answered) + len(refused) + 4)


def test_memcached_meta_commands_that_want_silence(kernel, owners):
    """May be answered or not: nobody can tell what belongs to whom any more."""
    talk = Talk(owners).open()
    talk.ask(MEMCACHED.ask)
    talk.answer(MEMCACHED.good)
    talk.ask(b"mg a v q\r\nmg b v q\r\nmn\r\n")
    talk.answer(b"VA 1\r\nx\r\nMN\r\n")
    talk.ask(MEMCACHED.ask)
    talk.answer(MEMCACHED.good)
    talk.close()
    check(kernel, owners, "memcached", {"ok": 1})


def binary(magic: int, opcode: int, status: int = 0, key: bytes = b"", value: bytes = b"") -> bytes:
    """A frame of Memcached's."""
    numbers = len(key).to_bytes(2) + b"\0\0" + status.to_bytes(2) + (len(key) + len(value)).to_bytes(4)
    return bytes([magic, opcode]) + numbers + bytes(12) + key + value


def test_memcached_binary(kernel, owners):
    """Quiet commands are no requests; statistics end with an empty key."""
    talk = Talk(owners).open()
    for status in (0, 1, 4, 0x82):
        talk.ask(binary(0x80, 0, key=b"cart:7"))
        talk.answer(binary(0x81, 0, status, value=b"x" * 40))
    talk.ask(binary(0x80, 9, key=b"a") + binary(0x80, 9, key=b"b") + binary(0x80, 10))
    talk.answer(binary(0x81, 9, value=b"x" * 9) + binary(0x81, 10))
    talk.ask(binary(0x80, 0x10))
    talk.answer(binary(0x81, 0x10, key=b"pid", value=b"7") + binary(0x81, 0x10))
    talk.close()
    check(kernel, owners, "memcached", {"ok": 4, "client_error": 1, "failed": 1})


def test_every_connection_of_thousands(kernel, owners):
    """One run of a program in 1,024 is measured: it must read what the others do."""
    connections = 4000
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    with owners.as_("client"):
        for _ in range(connections):
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            for sender, receiver, data in ((client, server, REDIS.ask), (server, client, REDIS.good)):
                sender.sendall(data)
                assert receiver.recv(4096) == data
            client.close()
            server.close()
    listener.close()
    check(kernel, owners, "redis", {"ok": connections})
