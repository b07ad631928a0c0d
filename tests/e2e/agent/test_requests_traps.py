# SPDX-License-Identifier: Apache-2.0
"""What the network and the socket options do to requests: early payload, lost packets, large ones, connections from before."""

import os
import socket
import tempfile
import time
from pathlib import Path

import pytest
from appstatus_agent.kernel import Config
from talk import (
    GRO_IPV4_MAX_SIZE,
    GRO_MAX_SIZE,
    GSO_IPV4_MAX_SIZE,
    GSO_MAX_SIZE,
    Drops,
    Sniffer,
    Talk,
    lose_next,
    requests_of,
    reset,
    set_link,
    settle,
)
from test_requests import CHUNKED, FAIL, FAKE, GET, OK, C, Case, S, answer, check, chunked, play, post

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def listen(owners, *options) -> socket.socket:
    with owners.as_("server"):
        listener = socket.socket()
        for option, value in options:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
    return listener


def accept(talk: Talk) -> None:
    talk.server, _ = talk.listener.accept()
    talk.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    talk.server.settimeout(10)
    talk.client.settimeout(10)


def tcp_counter(name: str) -> int:
    """Of `nstat TcpExt` in the test's own network namespace."""
    names, values = (line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()[:2])
    return int(values[names.index(name)])


# ---- payload that reaches the listener ----


@pytest.mark.parametrize("cut", [None, 1, 20])
def test_deferred_accept(kernel, owners, cut):
    """TCP_DEFER_ACCEPT: the request arrives while its socket is still the listener; the child must adopt it."""
    talk = Talk(owners, listener=listen(owners, (socket.TCP_DEFER_ACCEPT, 5)))
    talk.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    talk.client.connect(talk.address)
    settle()
    talk.client.sendall(GET[:cut])
    accept(talk)
    talk.server.recv(4096)
    if cut:
        talk.ask(GET[cut:])
    time.sleep(0.1)
    talk.answer(OK)
    play(talk, [C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case(f"deferred accept, cut {cut}", [], {"2xx": 1, "5xx": 1}))
    got = requests_of(kernel, owners.ids["server"])
    assert 0.1 <= got.seconds < 0.4, f"server latency {got.seconds:.3f} s does not start with the payload"


def test_deferred_accept_first_segment_overtaken(kernel, owners):
    """What reaches the listener is the request's second segment; the first one, sent again, is its child's."""
    talk = Talk(owners, listener=listen(owners, (socket.TCP_DEFER_ACCEPT, 5)))
    talk.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    talk.client.connect(talk.address)
    settle()
    request = post(b"x" * 3000)
    lose_next(talk.client, "dport", talk.address[1], request, 1500)
    accept(talk)
    assert len(talk.server.recv(len(request), socket.MSG_WAITALL)) == len(request)
    play(talk, [S(OK), C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("deferred accept, overtaken", [], {"2xx": 1, "5xx": 1}))


def test_deferred_accept_closed_unanswered(kernel, owners):
    talk = Talk(owners, listener=listen(owners, (socket.TCP_DEFER_ACCEPT, 5)))
    talk.client.connect(talk.address)
    talk.client.sendall(GET)
    accept(talk)
    talk.server.recv(4096)
    talk.server.close()
    settle()
    talk.close()
    check(kernel, owners, Case("deferred accept, closed", [], {"closed": 1}))


def test_deferred_accept_reset_by_the_client(kernel, owners):
    talk = Talk(owners, listener=listen(owners, (socket.TCP_DEFER_ACCEPT, 5)))
    talk.client.connect(talk.address)
    talk.client.sendall(GET)
    accept(talk)
    reset(talk.client)
    settle()
    talk.close()
    check(kernel, owners, Case("deferred accept, reset", [], {"closed": 1}, server={"reset": 1}))


def test_deferred_accept_overdue(kernel, owners):
    talk = Talk(owners, listener=listen(owners, (socket.TCP_DEFER_ACCEPT, 5)))
    talk.client.connect(talk.address)
    talk.client.sendall(GET)
    accept(talk)
    time.sleep(2.2)
    kernel.sweep()
    check(kernel, owners, Case("deferred accept, overdue", [], {"overdue": 1}))
    talk.close()


@pytest.mark.parametrize("deferred", [False, True], ids=["at once", "deferred"])
@pytest.mark.parametrize("how", ["closed unread", "reset", "listener closed"])
def test_server_aborts(kernel, owners, how, deferred):
    """The socket is closed before its RST is sent: after a deferred accept that RST would be the first packet of its own."""
    talk = Talk(owners, listener=listen(owners, *([(socket.TCP_DEFER_ACCEPT, 5)] if deferred else [])))
    talk.client.connect(talk.address)
    settle()
    talk.client.sendall(GET)
    settle()
    if how == "listener closed":
        talk.listener.close()
    else:
        accept(talk)
        if how == "reset":
            talk.server.recv(4096)
            reset(talk.server)
        else:
            talk.server.close()
    settle()
    case = Case(f"server aborts: {how}, deferred: {deferred}", [], {"reset": 1}, server={"closed": 1})
    check(kernel, owners, case)
    time.sleep(2.2)
    kernel.sweep()
    check(kernel, owners, case)
    talk.close()


def test_fast_open(kernel, owners):
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("519")  # client, server, without cookies
    listener = listen(owners, (socket.TCP_FASTOPEN, 64))
    before = tcp_counter("TCPFastOpenPassive")
    with Sniffer() as sniffer:
        for _ in range(3):
            talk = Talk(owners, listener=listener)
            talk.client.sendto(GET, socket.MSG_FASTOPEN, talk.address)
            accept(talk)
            talk.server.recv(4096)
            talk.answer(OK)
            talk.client.close()
            talk.server.close()
    listener.close()
    settle()
    assert [p.payload for p in sniffer.packets if p.syn and p.target == talk.address[1]] == [len(GET)] * 3
    assert tcp_counter("TCPFastOpenPassive") - before == 3, "the listener did not take the SYN's payload"
    check(kernel, owners, Case("fast open", [], {"2xx": 3}))


def test_quickack_off(kernel, owners):
    """A client that does not acknowledge at once sends its request with the third packet of the handshake."""
    listener = listen(owners)
    with Sniffer() as sniffer:
        for _ in range(20):
            talk = Talk(owners, listener=listener)
            talk.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            talk.client.connect(talk.address)
            talk.client.sendall(GET)
            accept(talk)
            talk.server.recv(4096)
            talk.answer(OK)
            talk.client.close()
            talk.server.close()
    listener.close()
    settle()
    third: dict[int, int] = {}  # by client: payload of the packet after its SYN
    for packet in sniffer.packets:
        if packet.target == talk.address[1] and not packet.syn:
            third.setdefault(packet.source, packet.payload)
    assert len(third) == 20
    assert list(third.values()).count(len(GET)) >= 10, "the handshakes were completed without payload"
    check(kernel, owners, Case("QUICKACK off", [], {"2xx": 20}))


# ---- lost and repeated packets ----


def test_request_lost_and_sent_again(kernel, owners):
    """The client's end sees its request leave several times, the server's end sees it once."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    port = talk.address[1]
    with Drops(f"type filter hook input priority 0; tcp dport {port} drop"):
        talk.client.sendall(GET)
        time.sleep(0.7)
    talk.server.recv(4096)
    play(talk, [S(OK), C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("lost request", [], {"2xx": 2, "5xx": 1}))


def test_acknowledgement_lost(kernel, owners):
    """The server's end sees the same request arrive several times."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    port = talk.address[1]
    with Drops(f"type filter hook input priority 0; tcp sport {port} drop"):
        talk.client.sendall(GET)
        talk.server.recv(4096)
        time.sleep(0.7)
    play(talk, [S(OK), C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("lost acknowledgement", [], {"2xx": 2, "5xx": 1}))


def test_answer_lost_and_sent_again(kernel, owners):
    talk = Talk(owners).open()
    play(talk, [C(GET)])
    port = talk.address[1]
    with Drops(f"type filter hook input priority 0; tcp sport {port} drop"):
        talk.server.sendall(OK)
        time.sleep(0.5)
    talk.client.recv(4096)
    play(talk, [C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("lost answer", [], {"2xx": 1, "5xx": 1}))


def test_body_segment_overtaken(kernel, owners):
    """One segment of a body is lost and comes after the others: the message's end is still found."""
    talk = Talk(owners).open()
    body = b"b" * 4000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n"
    play(talk, [C(GET), S(head + body)])
    port = talk.address[1]
    all_but_one = f"tcp sport {port} limit rate over 1/day burst 1 packets accept"
    with Drops(f"type filter hook input priority 0; {all_but_one}; tcp sport {port} drop"):
        talk.server.sendall(body)  # lost once
        time.sleep(0.02)
        talk.server.sendall(body)
        time.sleep(0.5)
    got = 0
    while got < 8000:
        got += len(talk.client.recv(65536))
    play(talk, [C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("overtaken body", [], {"2xx": 1, "5xx": 1}))


def test_connection_that_dies_without_a_packet(kernel, owners):
    """The network swallows everything: TCP gives up, no FIN and no RST is seen."""
    talk = Talk(owners).open()
    talk.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    port = talk.address[1]
    with Drops(f"type filter hook input priority 0; tcp dport {port} drop; tcp sport {port} drop"):
        talk.client.sendall(GET)
        with pytest.raises(TimeoutError):
            talk.client.settimeout(5)
            talk.client.recv(1)
        got = requests_of(kernel, owners.ids["client"])
        assert got.ended == {"reset": 1}, f"client: {got.ended}"
        talk.client.close()
        talk.server.close()
    talk.close()


# ---- large packets ----


def test_sendfile(kernel, owners):
    """The body never was in user space; packets hold hardly any linear bytes."""
    talk = Talk(owners).open()
    with tempfile.NamedTemporaryFile() as file:
        content = (answer(FAKE * 4000)) * 2
        file.write(content)
        file.flush()
        talk.ask(GET * 2)
        sent = got = 0
        while got < len(content):
            if sent < len(content):
                sent += os.sendfile(talk.server.fileno(), file.fileno(), sent, 65536)
            got += len(talk.client.recv(65536))
    play(talk, [C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("sendfile", [], {"2xx": 2, "5xx": 1}))


BIG_TCP = {"::1": ((5, 19), (GSO_MAX_SIZE, GRO_MAX_SIZE)), "127.0.0.1": ((6, 3), (GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE))}


@pytest.mark.parametrize("host", BIG_TCP)
def test_packets_beyond_64_kib(kernel, owners, host):
    since, settings = BIG_TCP[host]
    if tuple(int(number) for number in os.uname().release.split(".")[:2]) < since:
        pytest.skip(f"BIG TCP to {host} came with Linux {since[0]}.{since[1]}, this is {os.uname().release}")
    set_link("lo", dict.fromkeys(settings, 180_000))
    talk = Talk(owners, host=host).open()
    for end in (talk.client, talk.server):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    with Sniffer() as sniffer:
        play(talk, [C(GET), S(answer(b"x" * 3_000_000)), C(post(b"y" * 3_000_000)), S(OK), C(GET), S(FAIL)])
    for side in ("source", "target"):
        largest = max(p.payload for p in sniffer.packets if getattr(p, side) == talk.address[1])
        assert largest > 65536, f"no packet was larger than {largest} bytes"
    talk.close()
    check(kernel, owners, Case("BIG TCP", [], {"2xx": 2, "5xx": 1}))


# ---- connections from before ----


BEFORE = {
    "idle": ([], {"2xx": 1, "5xx": 1}),
    "used": ([C(GET), S(OK)], {"2xx": 1, "5xx": 1}),
    "inside an answer's body": ([C(GET), S(answer(FAKE * 20)[:100])], {"2xx": 1, "5xx": 1}),
}


@pytest.mark.parametrize("name", BEFORE)
def test_connection_open_before(late, owners, name):
    before, counts = BEFORE[name]
    talk = Talk(owners).open()
    play(talk, before)
    kernel = late()
    if "inside" in name:
        play(talk, [S(FAKE + answer(FAKE * 20)[100 + len(FAKE) :])])
    play(talk, [C(GET), S(OK), C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case(f"open before: {name}", [], counts))


def test_request_in_flight_before(late, owners):
    """Its answer cannot be paired and is not counted; what follows is."""
    talk = Talk(owners).open()
    talk.ask(GET)
    kernel = late()
    play(talk, [S(FAIL), C(GET), S(CHUNKED + chunked(b"abc")), C(GET), S(OK)])
    talk.close()
    check(kernel, owners, Case("asked before", [], {"2xx": 2}))


def test_upload_running_before(late, owners):
    talk = Talk(owners).open()
    talk.ask(post(b"u" * 5000)[:1000])
    kernel = late()
    talk.ask(post(b"u" * 5000)[1000:])
    play(talk, [S(OK), C(GET), S(FAIL), C(GET), S(OK)])
    talk.close()
    check(kernel, owners, Case("upload before", [], {"2xx": 1, "5xx": 1}))


def test_hanging_server_is_seen_within_30_seconds(late, owners):
    """The default bound, on a connection without a single packet after the request."""
    kernel = late(overdue_seconds=Config().overdue_seconds)
    talk = Talk(owners).open()
    talk.ask(GET)
    time.sleep(29)
    kernel.sweep()
    assert requests_of(kernel, owners.ids["client"]).ended == {}
    time.sleep(1.2)
    kernel.sweep()
    for end in ("client", "server"):
        assert requests_of(kernel, owners.ids[end]).ended == {"overdue": 1}, end
    talk.close()
