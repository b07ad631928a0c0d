# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 and gRPC: header tables, blocks cut into frames, streams that end in any order and in any way."""

import itertools
import time

import pytest
from hpack import Encoder, NeverIndexedHeaderTuple
from talk import Talk, requests_of
from test_protocols import (
    END_HEADERS,
    END_STREAM,
    GET,
    GRPC,
    HEADERS,
    HTTP2,
    OF_GRPC,
    POST,
    WHOLE,
    begin,
    check,
    field,
    grpc_end,
    h2,
    on_stream,
)

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]

DATA, RST_STREAM, PUSH_PROMISE, WINDOW_UPDATE, CONTINUATION = 0, 3, 5, 8, 9
PADDED, PRIORITY = 8, 0x20
NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
SERVERS = {2, 4, 12, 13, 14, 15}  # of gRPC's codes


def outcome(code: int) -> str:
    return "ok" if code == 0 else "failed" if code in SERVERS else "client_error"


def rst(code: int) -> bytes:
    return h2(RST_STREAM, 0, code.to_bytes(4))


@pytest.fixture
def talk(owners):
    talk = Talk(owners).open()
    begin(talk, HTTP2)
    yield talk
    talk.close()


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("size", [4096, 200, 80, 0])
def test_statuses_by_table(kernel, owners, talk, huffman, size):
    """Each status comes several times: as a literal, then by its entry, which others push out of a small table."""
    client, server = Encoder(), Encoder()
    server.header_table_size = size
    statuses = [200, 201, 302, 304, 404, 429, 500, 503, 201, 201, 429, 503, 599] * 4
    counts = {"ok": 0, "3xx": 0, "client_error": 0, "failed": 0}
    for number, status in enumerate(statuses):
        request = client.encode([(":method", "GET"), (":path", f"/{number % 5}"), ("user-agent", "test")], huffman)
        talk.ask(on_stream(h2(HEADERS, WHOLE, request), number))
        answer = server.encode([(":status", str(status)), ("server", "x" * (status % 40)), ("date", str(number))], huffman)
        talk.answer(on_stream(h2(HEADERS, END_HEADERS, answer) + h2(DATA, END_STREAM, b"x" * number), number))
        counts[["ok", "3xx", "client_error", "failed"][status // 100 - 2]] += 1
    talk.close()
    check(kernel, owners, "http", counts, latencies=len(statuses) - counts["failed"])


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("alone", [False, True], ids=["trailers", "trailers only"])
def test_grpc_codes(kernel, owners, talk, huffman, alone):
    client, server = Encoder(), Encoder()
    counts = {"ok": 0, "client_error": 0, "failed": 0}
    codes = [*range(17), *range(17), 0, 0]
    for number, code in enumerate(codes):
        request = client.encode([(":method", "POST"), (":path", "/shop.Cart/Get"), ("content-type", "application/grpc")], huffman)
        talk.ask(on_stream(h2(HEADERS, END_HEADERS, request) + h2(DATA, END_STREAM, bytes(5)), number))
        head = [(":status", "200"), ("content-type", "application/grpc")]
        tail = [("grpc-status", str(code)), ("grpc-message", "m" * code)]
        if alone:
            answer = h2(HEADERS, WHOLE, server.encode(head + tail, huffman))
        else:
            answer = h2(HEADERS, END_HEADERS, server.encode(head, huffman)) + h2(DATA, 0, bytes(5))
            answer += h2(HEADERS, WHOLE, server.encode(tail, huffman))
        talk.answer(on_stream(answer, number))
        counts[outcome(code)] += 1
    talk.close()
    check(kernel, owners, "grpc", counts, latencies=len(codes) - counts["failed"] - codes.count(1))


@pytest.mark.parametrize("value", [b"application/grpc-web+proto", b"application/grpcx", b"application/json", b"text/plain"])
def test_not_grpc(kernel, owners, talk, value):
    talk.ask(h2(HEADERS, END_HEADERS, POST + field(31, value)) + h2(DATA, END_STREAM, b"{}"))
    talk.answer(h2(HEADERS, END_HEADERS, b"\x88" + field(31, value)) + h2(DATA, END_STREAM, b"{}"))
    talk.close()
    check(kernel, owners, "http", {"ok": 1})


def test_grpc_answered_by_somebody_else(kernel, owners, talk):
    """A proxy's own answer has no code; then its status says whose fault it was, and 200 says nothing."""
    for number, status in enumerate((b"\x8e", b"\x8d", b"\x88")):
        talk.ask(on_stream(GRPC.ask, number))
        talk.answer(on_stream(h2(HEADERS, WHOLE, status + field(31, b"text/html")), number))
    talk.close()
    check(kernel, owners, "grpc", {"failed": 1, "client_error": 1, "unknown": 1}, latencies=1)


def test_late_error(kernel, owners, talk):
    talk.ask(GRPC.ask)
    talk.answer(h2(HEADERS, END_HEADERS, b"\x88" + OF_GRPC) + h2(DATA, 0, bytes(40_000)))
    talk.answer(grpc_end(13))
    talk.close()
    check(kernel, owners, "grpc", {"failed": 1})


@pytest.mark.parametrize("flags", [0, PADDED, PRIORITY, PADDED | PRIORITY], ids=["plain", "padded", "priority", "both"])
def test_block_cut_into_frames(kernel, owners, talk, flags):
    """At every place, also in the middle of a number or a name, with padding or empty frames between."""
    extra = b"\0\0\0\0\xff" if flags & PRIORITY else b""

    def frames(encoder: Encoder, fields: list, cuts: tuple[int, ...], flags: int = 0) -> bytes:
        block = encoder.encode(fields)
        places = [0, *(min(cut, len(block)) for cut in cuts), len(block)]
        parts = [block[a:b] for a, b in itertools.pairwise(places)]
        first = (b"\7" if flags & PADDED else b"") + (extra if flags & PRIORITY else b"") + parts[0]
        begins = h2(HEADERS, flags | END_STREAM, first + (bytes(7) if flags & PADDED else b""))
        return begins + b"".join(h2(CONTINUATION, END_HEADERS if part is parts[-1] else 0, part) for part in parts[1:])

    number = 0
    for cut in range(60):
        client, server = Encoder(), Encoder()  # as if each were the first: all literals
        request = [(":method", "POST"), (":path", "/" + "p" * 200), NeverIndexedHeaderTuple("content-type", "application/grpc")]
        talk.ask(on_stream(frames(client, request, (cut, cut + 3), flags), number))
        answer = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")]
        talk.answer(on_stream(frames(server, answer, (cut, cut), flags & PADDED), number))
        number += 1
    talk.close()
    check(kernel, owners, "grpc", {"failed": number})


def test_answers_in_any_order(kernel, owners, talk):
    """Each is its own stream's, and waits its own time."""
    for number in range(8):
        talk.ask(on_stream(HTTP2.ask if number % 2 else GRPC.ask, number))
        time.sleep(0.02)
    for number in reversed(range(8)):
        talk.answer(on_stream((HTTP2 if number % 2 else GRPC).good, number))
    talk.close()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert got.ended == {"2xx": 8} and got.latencies == 8, got
        assert 0.5 < got.seconds < 1.5, got  # 0.02 to 0.16 s each


def test_interim_answers(kernel, owners, talk):
    talk.ask(HTTP2.ask)
    for status in (b"100", b"103"):
        talk.answer(h2(HEADERS, END_HEADERS, field(8, status)))
    time.sleep(0.1)
    talk.answer(HTTP2.good)
    talk.close()
    check(kernel, owners, "http", {"ok": 1})
    assert requests_of(kernel, owners.ids["server"]).seconds > 0.1


@pytest.mark.parametrize("protocol", [HTTP2, GRPC], ids=["http2", "grpc"])
@pytest.mark.parametrize(
    ("after", "asks", "wait", "how"),
    [
        ("", False, 0, {"reset": 1}),
        ("", True, 0, {"client_error": 1}),
        ("", True, 1.1, {"closed": 1}),
        ("good", False, 0, {"ok": 1}),
        ("good", True, 0, {"ok": 1}),
    ],
    ids=["by the server", "cancelled", "given up", "by the server, then", "by the client, then"],
)
def test_reset(kernel, owners, talk, protocol, after, asks, wait, how):
    talk.ask(protocol.ask)
    if after:
        talk.answer(protocol.good)
    time.sleep(wait)
    (talk.ask if asks else talk.answer)(rst(NO_ERROR if after else CANCEL if asks else INTERNAL_ERROR))
    talk.ask(on_stream(protocol.ask, 1))
    talk.answer(on_stream(protocol.good, 1))
    assert requests_of(kernel, owners.ids["server"]).in_flight == 0
    talk.close()
    counts = {status: n + how.get(status, 0) for status, n in {"ok": 1, **dict.fromkeys(how, 0)}.items() if status != "ok"}
    check(kernel, owners, protocol.name, {"ok": 1 + how.get("ok", 0), **counts}, latencies=1 + how.get("ok", 0))


def test_stream_goes_on(kernel, owners, talk):
    """What has an answer's header is not overdue, however long it lasts."""
    talk.ask(GRPC.ask)
    talk.answer(h2(HEADERS, END_HEADERS, b"\x88" + OF_GRPC) + h2(DATA, 0, b"one"))
    time.sleep(2.2)
    assert requests_of(kernel, owners.ids["server"]).in_flight == 1
    kernel.sweep()
    talk.answer(h2(DATA, 0, b"two") + grpc_end(0))
    talk.close()
    check(kernel, owners, "grpc", {"ok": 1})


def test_pushed_streams(kernel, owners, talk):
    """Are nobody's requests, but what they put into the table counts."""
    server = Encoder()
    talk.ask(HTTP2.ask)
    promise = server.encode([(":method", "GET"), (":path", "/style.css"), ("x-a", "b")])
    talk.answer(h2(PUSH_PROMISE, END_HEADERS, (2).to_bytes(4) + promise))
    talk.answer(h2(HEADERS, END_HEADERS, server.encode([(":status", "503")]), 2) + h2(DATA, END_STREAM, b"css", 2))
    talk.answer(h2(HEADERS, WHOLE, server.encode([(":status", "503"), ("x-a", "b")])))
    talk.close()
    check(kernel, owners, "http", {"failed": 1})


def test_other_frames(kernel, owners, talk):
    """Flow control, unknown types, and data of any length, between the frames of requests."""
    between = h2(WINDOW_UPDATE, 0, b"\0\0\1\0", 0) + h2(0xB7, 0xFF, b"x" * 300, 9) + h2(DATA, 0) + h2(2, 0, bytes(5))
    for number in range(20):
        talk.ask(on_stream(h2(HEADERS, END_HEADERS, POST), number) + between)
        talk.ask(on_stream(h2(DATA, PADDED, b"\2" + bytes(number * 997 + 3)) + h2(DATA, END_STREAM), number) + between)
        talk.answer(between + on_stream(HTTP2.good, number) + between)
    talk.close()
    check(kernel, owners, "http", {"ok": 20})


def test_table_from_before(late, owners):
    """What was put into a table before the agent came is unknown, and never good; what comes later is not."""
    talk = Talk(owners).open()
    begin(talk, GRPC)
    client, server = Encoder(), Encoder()
    request = [(":method", "POST"), (":path", "/shop.Cart/Get"), ("content-type", "application/grpc")]

    def call(number: int, code: str) -> None:
        asks = h2(HEADERS, END_HEADERS, client.encode(request)) + h2(DATA, END_STREAM, bytes(5))
        talk.ask(on_stream(asks, number))
        head = h2(HEADERS, END_HEADERS, server.encode([(":status", "200"), ("content-type", "application/grpc")]))
        tail = h2(HEADERS, WHOLE, server.encode([("grpc-status", code)]))
        talk.answer(on_stream(head + h2(DATA, 0, bytes(5)) + tail, number))

    call(0, "0")
    kernel = late()
    call(1, "0")
    call(2, "14")  # a literal, whose name is an entry from before
    call(3, "0")
    request[1] = (":path", "/other")
    talk.close()
    check(kernel, owners, "grpc", {"unknown": 3}, latencies=0)


def test_status_from_before(late, owners):
    talk = Talk(owners).open()
    begin(talk, HTTP2)
    server = Encoder()
    for number, status in enumerate(("503", "200", "503", "201", "201", "404")):
        if number == 1:
            kernel = late()
        talk.ask(on_stream(HTTP2.ask, number))
        talk.answer(on_stream(h2(HEADERS, WHOLE, server.encode([(":status", status)])), number))
    talk.close()
    check(kernel, owners, "http", {"ok": 3, "unknown": 1, "client_error": 1}, latencies=4)


def test_get_is_no_call(kernel, owners, talk):
    talk.ask(h2(HEADERS, WHOLE, GET))
    talk.answer(h2(HEADERS, END_HEADERS, b"\x88") + h2(DATA, 0, b"x") + h2(HEADERS, WHOLE, field(b"x-check", b"1")))
    talk.close()
    check(kernel, owners, "http", {"ok": 1})
