# SPDX-License-Identifier: Apache-2.0
"""Packets that are lost where a message begins, and endings that must be seen at once or are not known."""

import ctypes
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import time

import pytest
from talk import Talk, lose_next, requests_of, reset, settle
from test_requests import FAIL, GET, OK, C, Case, S, check, play, post

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 8000\r\n\r\n" + b"a" * 8000


def first_lost(sender, receiver, side: str, port: int, data: bytes, cut: int) -> None:
    lose_next(sender, side, port, data, cut)
    got = 0
    while got < len(data):
        got += len(receiver.recv(65536))


def test_first_segment_of_a_connection_lost(kernel, owners):
    """The protocol is not decided by the segment that came first."""
    talk = Talk(owners).open()
    first_lost(talk.client, talk.server, "dport", talk.address[1], post(b"x" * 3000), 1500)
    play(talk, [S(OK)] + [C(GET), S(OK)] * 5)
    talk.close()
    check(kernel, owners, Case("first segment lost", [], {"2xx": 6}))


def test_request_header_lost(kernel, owners):
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    first_lost(talk.client, talk.server, "dport", talk.address[1], post(b"x" * 3000), 1500)
    play(talk, [S(FAIL), C(GET), S(OK)])
    talk.close()
    check(kernel, owners, Case("request header lost", [], {"2xx": 2, "5xx": 1}))


def test_request_line_lost(kernel, owners):
    """The hole is filled inside the header: its second half came before and is not read again."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    first_lost(talk.client, talk.server, "dport", talk.address[1], GET, 20)
    play(talk, [S(FAIL), C(GET), S(OK)])
    talk.close()
    got = requests_of(kernel, owners.ids["server"]).ended
    assert set(got) <= {"2xx", "5xx", "unknown"} and 2 <= sum(got.values()) <= 3, got


@pytest.mark.parametrize("then", ["closed", "idle", "next"])
def test_answer_header_lost(kernel, owners, then):
    talk = Talk(owners).open()
    talk.ask(GET)
    first_lost(talk.server, talk.client, "sport", talk.address[1], LONG, 4000)
    if then == "idle":
        time.sleep(2.2)
        kernel.sweep()
    elif then == "next":
        play(talk, [C(GET), S(OK)])
    else:
        talk.server.close()
        settle()
    talk.close()
    check(kernel, owners, Case(f"answer header lost, {then}", [], {"2xx": 1 + (then == "next")}))


@pytest.mark.parametrize("then", ["closed", "reset", "overdue"])
def test_answer_that_could_not_be_read(kernel, owners, then):
    """Bytes came that may have been the answer: the request's end is unknown, not a failure."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK), C(GET), S(b"no status line\r\n")])
    if then == "closed":
        talk.server.close()
    elif then == "reset":
        reset(talk.server)
    else:
        time.sleep(2.2)
        kernel.sweep()
    settle()
    talk.close()
    check(kernel, owners, Case(f"unreadable answer, {then}", [], {"2xx": 1, "unknown": 1}))


def test_unanswered_fin_is_seen_at_once(kernel, owners):
    """Whatever the initial sequence number, and though the server never sent a byte: before the client closes its end."""
    talks = [Talk(owners).open() for _ in range(20)]
    for talk in talks:
        talk.ask(GET)
        talk.server.close()
    settle()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert (got.ended, got.in_flight) == ({"closed": 20}, 0), f"{end}: {got.ended}"
    for talk in talks:
        talk.close()
    check(kernel, owners, Case("unanswered FIN", [], {"closed": 20}))


def test_forged_reset(kernel, owners):
    """A RST outside the window ends nothing: the socket does not believe it either."""
    talk = Talk(owners).open()
    talk.ask(GET)
    (source, sport), (target, dport) = talk.server.getsockname(), talk.client.getsockname()
    header = struct.pack("!HHIIBBHHH", sport, dport, 12345, 0, 5 << 4, 4, 0, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
    total = sum(struct.unpack(f"!{(len(pseudo) + len(header)) // 2}H", pseudo + header))
    total = (total >> 16) + (total & 0xFFFF)
    check_sum = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(header[:16] + struct.pack("!H", check_sum) + header[18:], (target, 0))
    settle()
    talk.answer(OK)
    talk.close()
    check(kernel, owners, Case("forged reset", [], {"2xx": 1}))


def test_reset_while_answers_leave(kernel, owners, two_cpus):
    """Two CPUs on one socket: the client's RST arrives while the server answers. Each request ends once."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    first, second = two_cpus
    server = os.fork()
    if server == 0:
        try:
            os.sched_setaffinity(0, {second})
            while True:
                end, _ = listener.accept()
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    end.recv(65536)
                    for _ in range(100):
                        end.send(OK)
                except OSError:
                    pass
                end.close()
        finally:
            os._exit(0)
    connections, until = 0, time.monotonic() + 4
    try:
        os.sched_setaffinity(0, {first})
        while time.monotonic() < until:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connect(listener.getsockname())
            client.sendall(GET * 100)
            wait = time.perf_counter() + random.uniform(50e-6, 800e-6)
            while time.perf_counter() < wait:
                pass
            client.close()
            connections += 1
    finally:
        os.kill(server, 9)
        os.waitpid(server, 0)
        listener.close()
    settle()
    got = requests_of(kernel, owners.ids["server"])
    assert got.in_flight == 0
    assert 0 < sum(got.ended.values()) <= 100 * connections, f"{connections} connections: {got.ended}"


ANSWERS_NONE = """
import mmap, os, socket, sys
listener, flag = socket.socket(fileno=int(sys.argv[1])), mmap.mmap(int(sys.argv[2]), 4096)
os.sched_setaffinity(0, {int(sys.argv[3])})
while True:
    end, _ = listener.accept()
    end.recv(65536)
    while flag[0] == 0:
        pass
    end.close()
    flag[0] = 0
"""


def test_fin_arrives_while_the_client_closes(kernel, owners, two_cpus):
    """Two CPUs on one socket, neither waits for the other: the request ends once."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    first, second = two_cpus
    shared = os.memfd_create("flag")
    os.ftruncate(shared, 4096)
    flag = mmap.mmap(shared, 4096)
    command = [sys.executable, "-c", ANSWERS_NONE, str(listener.fileno()), str(shared), str(second)]
    server = subprocess.Popen(command, pass_fds=[listener.fileno(), shared])
    connections, until = 0, time.monotonic() + 6
    try:
        os.sched_setaffinity(0, {first})
        with owners.as_("client"):
            while time.monotonic() < until:
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.connect(listener.getsockname())
                client.sendall(GET)
                wait = time.perf_counter() + random.uniform(0, 60e-6)
                flag[0] = 1
                while time.perf_counter() < wait:
                    pass
                client.close()
                while flag[0] and server.poll() is None:
                    pass
                connections += 1
    finally:
        server.kill()
        server.wait()
        listener.close()
        os.close(shared)
    settle()
    got = requests_of(kernel, owners.ids["client"])
    assert sum(got.ended.values()) == connections and set(got.ended) <= {"closed", "reset"}, f"{connections}: {got.ended}"


def test_socket_that_connects_again(kernel, owners):
    """connect(AF_UNSPEC) makes a socket as new."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    with owners.as_("client"):
        client = socket.socket()
    unspecified = ctypes.create_string_buffer(16)
    for _ in range(10):
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        client.sendall(GET)
        server.recv(4096)
        server.sendall(OK)
        client.recv(4096)
        assert ctypes.CDLL(None).connect(client.fileno(), unspecified, 16) == 0
        server.close()
    client.close()
    listener.close()
    settle()
    check(kernel, owners, Case("ten connections of one socket", [], {"2xx": 10}))
