# SPDX-License-Identifier: Apache-2.0
"""The life of a request, told by bytes: what goes over the wire, and what each end must have counted.

Latency is that of good answers only, as the SLI has it. Each case is a list of steps: C(bytes) the client sends,
S(bytes) the server sends, then ends of the connection. Expected
counts are those of both ends unless they differ.
"""

import socket
import time
from dataclasses import dataclass

import numpy as np
import pytest
from appstatus_agent.kernel import rows
from talk import Talk, requests_of, reset, settle

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


@dataclass(frozen=True)
class C:
    data: bytes


@dataclass(frozen=True)
class S:
    data: bytes


CLIENT_CLOSES, CLIENT_RESETS, CLIENT_SHUTS, SERVER_CLOSES, SERVER_RESETS = "cc", "cr", "cs", "sc", "sr"

GET = b"GET /cart?id=7 HTTP/1.1\r\nHost: shop\r\nUser-Agent: test/1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok"
FAIL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
FAKE = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
FAKE_GET = b"GET /fake HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, extra: bytes = b"") -> bytes:
    return b"POST /order HTTP/1.1\r\nHost: shop\r\n%sContent-Length: %d\r\n\r\n" % (extra, len(body)) + body


def answer(body: bytes, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, extra, len(body)) + body


def folded(message: bytes) -> bytes:
    return message.replace(b"Content-Length: ", b"Content-Length:\r\n\t ")


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (*chunks, b"")[:-1]) + b"0\r\n" + trailer + b"\r\n"


HEAD = GET.replace(b"GET", b"HEAD")
UPGRADE = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT db:443 HTTP/1.1\r\nHost: db\r\n\r\n"
EXPECT = post(b"x" * 9, b"Expect: 100-continue\r\n")[:-9]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
NONE_BUT_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = [C(GET), S(OK)]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    steps: list
    counts: dict
    server: dict | None = None  # where the server end counts otherwise
    latencies: int | None = None  # where not every request has one


CASES = [
    Case("one request", [C(GET), S(OK)], {"2xx": 1}),
    Case("keep-alive", NEXT * 5, {"2xx": 5}),
    Case(
        "every class",
        [step for n in b"2345" for step in (C(GET), S(answer(b"", b"%c00 X" % n)))],
        {"2xx": 1, "3xx": 1, "4xx": 1, "5xx": 1},
    ),
    Case("unusual but valid status", [C(GET), S(answer(b"", b"299 "))], {"2xx": 1}),
    Case(
        "status of no class",
        [C(GET), S(answer(b"", b"999 Denied")), C(GET), S(answer(b"", b"600 X")), *NEXT],
        {"2xx": 1, "unknown": 2},
    ),
    Case("bare LF line ends", [C(GET.replace(b"\r\n", b"\n")), S(OK.replace(b"\r\n", b"\n"))] * 2, {"2xx": 2}),
    Case("method of its own in an orderly stream", [*NEXT, C(GET.replace(b"GET", b"PURGE")), S(OK)], {"2xx": 2}),
    Case("unknown method first", [C(GET.replace(b"GET", b"PROPFIND")), S(OK), *NEXT], {"2xx": 2}),
    Case("short unknown method first", [C(GET.replace(b"GET", b"ACL")), S(OK), *NEXT], {"2xx": 2}),
    Case("PROXY protocol", [C(b"PROXY TCP4 10.0.0.1 10.0.0.2 51000 80\r\n" + GET), S(OK), *NEXT], {"2xx": 2}),
    Case("PROXY line on its own", [C(b"PROXY TCP4 10.0.0.1 10.0.0.2 51000 80\r\n"), *NEXT], {"2xx": 1}),
    Case("empty line before a request", [*NEXT, C(b"\r\n" + GET), S(OK)], {"2xx": 2}),
    # bodies
    Case("body that looks like an answer", [C(GET), S(answer(FAKE * 3)[:60]), S(answer(FAKE * 3)[60:])], {"2xx": 1}),
    Case(
        "body segment that begins with HTTP/1.1 500",
        [C(GET), S(answer(FAKE * 2)[: -2 * len(FAKE)]), S(FAKE), S(FAKE), *NEXT],
        {"2xx": 2},
    ),
    Case(
        "request body segment that begins with GET",
        [C(post(FAKE_GET * 2)[: -len(FAKE_GET) * 2]), C(FAKE_GET), C(FAKE_GET), S(OK), *NEXT],
        {"2xx": 2},
    ),
    Case("body and next request in one segment", [C(post(b"x" * 100) + GET), S(OK), S(OK)], {"2xx": 2}),
    Case("large body", [C(GET), S(answer(b"y" * 300_000)), *NEXT], {"2xx": 2}),
    Case("large request body", [C(post(b"z" * 300_000)), S(OK), *NEXT], {"2xx": 2}),
    Case("chunked", [C(GET), S(CHUNKED + chunked(b"abc", b"x" * 5000)), *NEXT], {"2xx": 2}),
    Case(
        "chunk by chunk",
        [C(GET), S(CHUNKED), S(b"3\r\nabc\r\n"), S(b"4;ext=1\r\nabcd\r\n"), S(b"0\r\n\r\n"), *NEXT],
        {"2xx": 2},
    ),
    Case(
        "chunks that begin with HTTP/1.1 500",
        [C(GET), S(CHUNKED + b"%X\r\n" % len(FAKE)), S(FAKE), S(b"\r\n%x\r\n" % len(FAKE)), S(FAKE), S(b"\r\n0\r\n\r\n"), *NEXT],
        {"2xx": 2},
    ),
    Case(
        "chunked with trailers",
        [C(GET), S(CHUNKED + chunked(b"abc", trailer=b"X-Sum: 1\r\n")), C(GET), S(FAIL)],
        {"2xx": 1, "5xx": 1},
    ),
    Case("chunked request", [C(UPLOAD), C(chunked(FAKE_GET, b"x" * 3000)), S(OK), *NEXT], {"2xx": 2}),
    Case("many small chunks in one segment", [C(GET), S(CHUNKED + chunked(*[b"x" * 10] * 200)), *NEXT], {"2xx": 2}),
    Case("answer to HEAD has no body", [C(HEAD), S(NONE_BUT_LENGTH), C(GET), S(FAIL)], {"2xx": 1, "5xx": 1}),
    Case(
        "204 and 304 have no body",
        [C(GET), S(b"HTTP/1.1 204 No\r\n\r\n"), C(GET), S(b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"), *NEXT],
        {"2xx": 2, "3xx": 1},
    ),
    Case("body until the connection ends", [C(GET), S(b"HTTP/1.0 200 OK\r\n\r\n"), S(FAKE), SERVER_CLOSES], {"2xx": 1}),
    # answers before the final one, other protocols after it
    Case("100-continue", [C(EXPECT), S(CONTINUE), C(b"x" * 9), S(OK), *NEXT], {"2xx": 2}),
    Case("103 then 200 in one segment", [C(GET), S(HINTS + OK), *NEXT], {"2xx": 2}),
    Case("refused upload whose body never comes", [C(EXPECT), S(answer(b"", b"417 No")), *NEXT], {"2xx": 1, "4xx": 1}),
    Case(
        "answer before the end of the request",
        [C(post(b"x" * 5000)[:100]), S(answer(b"", b"413 Large")), C(post(b"x" * 5000)[100:])],
        {"4xx": 1},
    ),
    Case(
        "upload after an early answer, then the next request",
        [C(post(b"x" * 5000)[:100]), S(answer(b"", b"413 Large")), C(post(b"x" * 5000)[100:]), *NEXT],
        {"2xx": 1, "4xx": 1},
    ),
    Case(
        "body that looks like requests after an early answer",
        [
            C(post(FAKE_GET * 3)[: -2 * len(FAKE_GET)]),
            S(CHUNKED + b"3\r\nabc\r\n"),
            C(FAKE_GET),
            S(b"0\r\n\r\n"),
            C(FAKE_GET),
            *NEXT,
        ],
        {"2xx": 2},
    ),
    Case(
        "answer that streams while the upload goes on",
        [
            C(post(b"x" * 3000)[:1000]),
            S(CHUNKED + b"3\r\nabc\r\n"),
            C(post(b"x" * 3000)[1000:2000]),
            S(b"3\r\nabc\r\n"),
            C(post(b"x" * 3000)[2000:]),
            S(b"0\r\n\r\n"),
            *NEXT,
            C(GET),
            S(FAIL),
        ],
        {"2xx": 2, "5xx": 1},
    ),
    Case(
        "refused chunked upload whose body never comes",
        [C(UPLOAD[:-2] + b"Expect: 100-continue\r\n\r\n"), S(answer(b"", b"417 No")), *NEXT],
        {"2xx": 1, "4xx": 1},
    ),
    Case("WebSocket", [C(UPGRADE), S(SWITCH), C(FAKE_GET), S(FAKE), C(FAKE_GET)], {"1xx": 1}, latencies=0),
    Case("upgrade refused", [C(UPGRADE), S(OK), *NEXT], {"2xx": 2}),
    Case("CONNECT tunnel", [C(CONNECT), S(b"HTTP/1.1 200 Established\r\n\r\n"), C(FAKE_GET), S(FAKE)], {"2xx": 1}),
    Case("CONNECT refused", [C(CONNECT), S(answer(b"no", b"403 No")), *NEXT], {"2xx": 1, "4xx": 1}),
    Case("server-sent events", [C(GET), S(SSE), S(b"3\r\nabc\r\n")], {"2xx": 1}, latencies=0),
    Case(
        "server-sent events, no space after the colon",
        [C(GET), S(SSE.replace(b": ", b":")), S(b"3\r\nabc\r\n")],
        {"2xx": 1},
        latencies=0,
    ),
    Case(
        "tab after the colon",
        [C(post(b"abcde").replace(b": ", b":\t")), S(OK.replace(b": ", b":")), C(GET), S(FAIL)],
        {"2xx": 1, "5xx": 1},
    ),
    Case(
        "chunks, no space after the colon",
        [C(UPLOAD.replace(b": ", b":") + chunked(FAKE_GET)), S(CHUNKED.replace(b": ", b":\t") + chunked(b"abc")), *NEXT],
        {"2xx": 2},
    ),
    # pipelining
    Case("pipelined, answered one by one", [C(GET * 3), S(OK), S(FAIL), S(OK)], {"2xx": 2, "5xx": 1}),
    Case("pipelined with bodies", [C(post(b"x" * 40) * 4), S(OK * 4), *NEXT], {"2xx": 5}),
    Case("pipelined deeper than the slots", [C(GET * 20), S(OK * 20), *NEXT], {"2xx": 21}, latencies=5),
    Case(
        "HEAD pipelined deeper than the slots",
        [C(HEAD * 6), S(NONE_BUT_LENGTH * 6), C(GET), S(FAIL)],
        {"2xx": 6, "5xx": 1},
        latencies=4,
    ),
    Case(
        "body that looks like an answer while the next request is waiting",
        [C(GET), S(answer(FAKE * 2)[: -len(FAKE)]), C(GET), S(FAKE), S(OK), *NEXT],
        {"2xx": 3},
    ),
    Case("HEAD among pipelined", [C(HEAD + GET), S(NONE_BUT_LENGTH + OK)], {"2xx": 2}),
    Case(
        "count of body bytes gone wrong", [C(GET * 5 + HEAD), S(OK * 5), S(NONE_BUT_LENGTH), *NEXT, *NEXT], {"2xx": 8}, latencies=6
    ),
    # long headers
    Case(
        "long header lines",
        [C(GET[:-2] + b"Cookie: " + b"c" * 5000 + b"\r\n\r\n"), S(answer(b"ok", extra=b"A: " + b"d" * 3000 + b"\r\n")), *NEXT],
        {"2xx": 2},
    ),
    Case("long URL", [C(GET.replace(b"id=7", b"id=" + b"7" * 4000)), S(OK), *NEXT], {"2xx": 2}),
    Case(
        "many header lines", [C(GET[:-2] + b"".join(b"X-H%d: v\r\n" % i for i in range(150)) + b"\r\n"), S(OK), *NEXT], {"2xx": 2}
    ),
    Case(
        "length on the line below its name (an obsolete fold)",
        [C(folded(post(FAKE_GET))), S(folded(answer(FAKE))), C(GET), S(FAIL)],
        {"2xx": 1, "5xx": 1},
    ),
    Case("length without a number", [C(folded(GET[:-2] + b"Content-Length: \r\n\r\n")), S(OK), *NEXT], {"2xx": 2}),
    Case("body length after a long line", [C(post(FAKE_GET, b"A: " + b"c" * 2000 + b"\r\n")), S(OK), *NEXT], {"2xx": 2}),
    # how requests end without an answer
    Case("reset by the server", [C(GET), SERVER_RESETS], {"reset": 1}, server={"closed": 1}),
    Case("reset by the client", [C(GET), CLIENT_RESETS], {"closed": 1}, server={"reset": 1}),
    Case("closed unanswered", [C(GET), SERVER_CLOSES], {"closed": 1}),
    Case("client gives up", [C(GET), CLIENT_CLOSES, SERVER_CLOSES], {"closed": 1}),
    Case("half-closed client gets its answer", [C(GET), CLIENT_SHUTS, S(OK), SERVER_CLOSES], {"2xx": 1}),
    Case("closed inside the answer's header", [C(GET), S(OK[:20]), SERVER_CLOSES], {"closed": 1}),
    Case("closed inside the answer's body", [C(GET), S(OK[:-1]), SERVER_CLOSES], {"2xx": 1}),
    Case(
        "pipelined, reset after the first",
        [C(GET * 3), S(OK), SERVER_RESETS],
        {"2xx": 1, "reset": 2},
        server={"2xx": 1, "closed": 2},
    ),
    Case("pipelined beyond the slots, closed", [C(GET * 9), SERVER_CLOSES], {"closed": 9}),
    Case("answer and FIN at once", [C(GET), S(OK), SERVER_CLOSES], {"2xx": 1}),
    # not HTTP
    Case("another protocol", [C(b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a"), S(b"\x20\2\0\0"), C(FAKE_GET), S(FAKE)], {}),
    Case("server speaks first", [S(b"220 mail ESMTP\r\n"), C(FAKE_GET), S(FAKE)], {}),
    Case("command that begins like a method", [C(b"GET key\r\n"), S(b"$3\r\nabc\r\n"), C(FAKE_GET), S(FAKE)], {}),
    Case("text commands in capitals", [C(b"SET key value\r\n"), S(b"+OK\r\n"), C(FAKE_GET), S(FAKE)], {}),
    Case("RTSP", [C(b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n"), S(b"RTSP/1.0 200 OK\r\n\r\n")], {}),
    Case("HTTP/2 preface", [C(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), S(b"\0\0\0\4\0\0\0\0\0")], {}),
]


def play(talk: Talk, steps: list) -> None:
    for step in steps:
        if isinstance(step, C):
            talk.ask(step.data)
        elif isinstance(step, S):
            talk.answer(step.data)
        elif step == CLIENT_CLOSES:
            talk.client.close()
        elif step == CLIENT_SHUTS:
            talk.client.shutdown(socket.SHUT_WR)
        elif step == CLIENT_RESETS:
            reset(talk.client)
        elif step == SERVER_CLOSES:
            talk.server.close()
        elif step == SERVER_RESETS:
            reset(talk.server)
        if isinstance(step, str):
            settle()


def told(steps: list) -> str:
    lines = []
    for step in steps:
        if isinstance(step, str):
            lines.append(f"  {step}")
        else:
            lines.append(f"  {type(step).__name__} {len(step.data):6} bytes {step.data[:70]!r}")
    return "\n".join(lines[:30])


def check(kernel, owners, case: Case) -> None:
    for end, expected in (("client", case.counts), ("server", case.counts if case.server is None else case.server)):
        got = requests_of(kernel, owners.ids[end])
        answered = sum(n for status, n in expected.items() if status in ("2xx", "3xx", "4xx"))
        latencies = answered if case.latencies is None else case.latencies
        problem = ""
        if got.ended != expected:
            problem = f"ended: expected {expected}, counted {got.ended}"
        elif got.latencies != latencies:
            problem = f"latencies: expected {latencies}, counted {got.latencies}"
        elif got.in_flight:
            problem = f"{got.in_flight} still in flight"
        assert not problem, f"{case.name}, {end}: {problem}\nunparsed: {kernel.counters().unparsed}\n{told(case.steps)}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_counts(kernel, owners, case):
    talk = Talk(owners).open()
    play(talk, case.steps)
    talk.close()
    check(kernel, owners, case)


@pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1"])
def test_ipv6(kernel, owners, host):
    talk = Talk(owners, host=host).open()
    steps = [C(GET), S(OK), C(post(b"x" * 5000)), S(FAIL)]
    play(talk, steps)
    talk.close()
    check(kernel, owners, Case(host, steps, {"2xx": 1, "5xx": 1}))


CUT = {
    "GET": (GET, OK, "2xx"),
    "POST": (post(b"0123456789"), FAIL, "5xx"),
    "folded length": (folded(post(b"0123456789")), folded(answer(b"abc")), "2xx"),
    "chunked": (UPLOAD + chunked(b"abc", b"d" * 17), CHUNKED + chunked(b"abcdef", trailer=b"A: b\r\n"), "2xx"),
}


@pytest.mark.parametrize("kind", CUT)
def test_cut_at_every_offset(kernel, owners, kind):
    """Request and response, each cut in two at every place, on one connection."""
    request, response, status = CUT[kind]
    talk = Talk(owners).open()
    n = 0
    for cut in range(1, len(request)):
        play(talk, [C(request[:cut]), C(request[cut:]), S(response)])
        n += 1
    for cut in range(1, len(response)):
        play(talk, [C(request), S(response[:cut]), S(response[cut:])])
        n += 1
    talk.close()
    check(kernel, owners, Case(f"{kind} cut {n} times", [C(request), S(response)], {status: n}))


def test_a_line_that_is_cut_again_where_the_buffer_is_full(kernel, owners):
    """What is kept of a cut line and a long segment after it fill the parser's buffer, and its last line is not finished there:
    what came before in the buffer must not be read again, so no request is counted twice."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\n"
    talk = Talk(owners).open()
    n = 0
    for kept in range(17, 64, 2):
        for before in (840, 870, 885, 900, 930):
            first = head + b"X-Cut: " + b"a" * (kept - 7)
            rest = b"a" * 9 + b"\r\n\r\n" + head
            rest += b"X-Fill: " + b"b" * (before - len(rest) - 10) + b"\r\nX-Long: " + b"c" * 400 + b"\r\n\r\n"
            play(talk, [C(first), C(rest), S(OK), S(OK)])
            n += 2
    talk.close()
    check(kernel, owners, Case("two requests, the first one's header cut", [], {"2xx": n}))


@pytest.mark.parametrize("kind", CUT)
def test_byte_by_byte(kernel, owners, kind):
    request, response, status = CUT[kind]
    talk = Talk(owners).open()
    for _ in range(2):
        play(talk, [C(bytes([b])) for b in request] + [S(bytes([b])) for b in response])
    talk.close()
    check(kernel, owners, Case(f"{kind} byte by byte", [C(request), S(response)], {status: 2}))


@pytest.mark.parametrize("method", [b"GET", b"PROPFIND"])
@pytest.mark.parametrize("cut", range(1, 12))
def test_new_connection_cut_early(kernel, owners, cut, method):
    """The protocol of a connection is found although its first segment is shorter than a method."""
    talk = Talk(owners).open()
    first = GET.replace(b"GET", method)
    steps = [C(first[:cut]), C(first[cut:]), S(OK[:cut]), S(OK[cut:]), C(GET), S(OK)]
    play(talk, steps)
    talk.close()
    check(kernel, owners, Case(f"cut at {cut}", steps, {"2xx": 2}))


def test_pipelined_far_beyond_one_run(kernel, owners):
    """All are counted, or the shortfall is: answered but unread ones end as `unknown`."""
    talk = Talk(owners).open()
    play(talk, [C(GET * 100), S(OK * 100), C(GET), S(OK)])
    talk.close()
    for end in ("client", "server"):
        ended = requests_of(kernel, owners.ids[end]).ended
        assert sum(ended.values()) == 101 and set(ended) <= {"2xx", "unknown"}, f"{end}: {ended}"


def test_more_requests_than_can_be_told_apart_are_counted_as_unparsed(kernel, owners):
    """A client that asks and asks, and a server that reads and never answers."""
    sent, most, slots, at_once = 33_000, 32_767, 4, 300

    def without_slot() -> int:
        return kernel.counters().unparsed["http", "pipeline"]

    before = without_slot()
    talk = Talk(owners).open()
    play(talk, [C(GET * at_once)] * (sent // at_once) + [SERVER_CLOSES])
    talk.close()
    for end in ("client", "server"):
        assert requests_of(kernel, owners.ids[end]).ended == {"closed": most}, end
    assert without_slot() - before == 2 * (sent - slots)


def test_latency_from_last_request_byte_to_first_answer_byte(kernel, owners):
    talk = Talk(owners).open()
    request, response = post(b"x" * 20), answer(b"y" * 20)
    talk.ask(request[:-5])
    time.sleep(0.3)  # the client is slow: not the server's latency
    talk.ask(request[-5:])
    time.sleep(0.1)
    talk.answer(response[:-5])
    time.sleep(0.3)  # the body is slow: neither
    talk.answer(response[-5:])
    talk.close()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert got.latencies == 1 and 0.1 <= got.seconds < 0.25, f"{end}: {got.seconds:.3f} s"


def test_latency_buckets(kernel, owners):
    """Each latency falls into the bucket whose bound is the first not below it."""
    talk = Talk(owners).open()
    slow = 0  # by this process' clock, which begins before the kernel's and ends after it
    for seconds in (0.0, 0.012, 0.06):
        began = time.monotonic()
        talk.ask(GET)
        time.sleep(seconds)
        talk.answer(OK)
        slow += time.monotonic() - began >= 0.01
    talk.close()
    got = requests_of(kernel, owners.ids["server"])
    buckets = got.rows["value"]["latency"].sum(axis=0)
    bounds = np.array([0, *rows.LATENCY_BOUNDS_NS, 2**63], dtype=float) / 1e9
    assert (buckets * bounds[:-1]).sum() <= got.seconds <= (buckets * bounds[1:]).sum(), f"{buckets} for {got.seconds:.3f} s"
    # Two, unless the machine (an emulated one) was too slow for the first.
    assert 2 <= buckets[bounds[:-1] >= 0.01].sum() <= slow, f"{buckets}: {slow} of three may be slower than 10 ms"


def test_in_flight(kernel, owners):
    talk = Talk(owners).open()
    talk.ask(GET)
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert (got.in_flight, got.ended) == (1, {}), f"{end}: {got}"
    talk.answer(OK)
    for end in ("client", "server"):
        assert requests_of(kernel, owners.ids[end]).in_flight == 0
    talk.close()


def test_hanging_server_is_overdue_without_a_packet(kernel, owners):
    """The module's kernel side ends requests after 2 s instead of 30. A late answer is not counted again."""
    talk = Talk(owners).open()
    talk.ask(GET)
    time.sleep(2.2)
    kernel.sweep()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert (got.ended, got.in_flight) == ({"overdue": 1}, 0), f"{end}: {got}"
    kernel.sweep()
    talk.answer(OK)
    play(talk, [C(GET), S(OK)])
    talk.close()
    check(kernel, owners, Case("late answer", [], {"overdue": 1, "2xx": 1}))


def test_overdue_request_whose_connection_ends_later(kernel, owners):
    talk = Talk(owners).open()
    talk.ask(GET)
    time.sleep(2.2)
    kernel.sweep()
    reset(talk.server)
    settle()
    talk.close()
    check(kernel, owners, Case("overdue, then reset", [], {"overdue": 1}))


@pytest.mark.parametrize("upload", ["length", "chunked"])
def test_slow_upload_is_not_overdue(kernel, owners, upload):
    """The server owes nothing before the request's last byte; from there on the bound holds."""
    talk = Talk(owners).open()
    request = post(b"x" * 30) if upload == "length" else UPLOAD + chunked(*[b"x"] * 30)
    talk.ask(request[:-25])
    for at in range(-25, -1):
        talk.ask(request[at : at + 1])
        time.sleep(0.1)
    kernel.sweep()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert (got.ended, got.in_flight) == ({}, 1), f"{end}: {got.ended}"
    talk.ask(request[-1:])
    talk.answer(OK)
    talk.ask(post(b"x"))
    time.sleep(2.2)
    kernel.sweep()
    talk.close()
    check(kernel, owners, Case("slow upload", [], {"2xx": 1, "overdue": 1}))


def test_half_a_header_is_not_overdue(kernel, owners):
    """A client that stalls is not the server's failure."""
    talk = Talk(owners).open()
    talk.ask(GET[:-2])
    time.sleep(2.2)
    kernel.sweep()
    for end in ("client", "server"):
        assert requests_of(kernel, owners.ids[end]).ended == {}, end
    talk.ask(GET[-2:])
    talk.answer(OK)
    talk.close()
    check(kernel, owners, Case("slow header", [], {"2xx": 1}))


@pytest.mark.parametrize("status", [b"500 Oops", b"503 Busy", b"599 x"])
def test_bad_answers_have_no_latency(kernel, owners, status):
    """Errors are often fast: in the histogram they would make good answers look so (docs/decisions/0001)."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(answer(b"x", status)), C(GET), S(answer(b"", b"404 No"))])
    talk.close()
    check(kernel, owners, Case("5xx and latency", [], {"4xx": 1, "5xx": 1}, latencies=1))
