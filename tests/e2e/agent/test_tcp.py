# SPDX-License-Identifier: Apache-2.0
"""TCP per owner and destination, listeners, processes, cgroups and DNS answers, with real sockets and processes."""

import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from appstatus_agent.kernel import Kernel, events, rows
from talk import Drops, Talk, network_inode, settle
from test_requests import GET, OK, C, S, play

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def tcp_of(kernel: Kernel, owner: int, direction: int = rows.OUTBOUND) -> dict[tuple[str, int], dict]:
    """Counters by destination of one owner."""
    table = kernel.read_tcp()
    table = table[(table["key"]["owner"] == owner) & (table["key"]["direction"] == direction)]
    return {
        (rows.address(row["key"]["destination"]), int(row["key"]["destination_port"])): {
            name: int(row["value"][name]) for name in rows.TCP_VALUE.names
        }
        for row in table
    }


def test_connection_from_begin_to_end(kernel, owners):
    talk = Talk(owners).open()
    talk.ask(b"q" * 100_000)
    talk.answer(b"a" * 30_000)
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["failed"], one["active"]) == (1, 0, 1)
    assert (one["bytes_sent"], one["bytes_received"]) == (100_000, 30_000)
    assert 0 < one["connect_time"] < 1e9 and one["rtt_count"] == 1 and 0 < one["rtt_sum"] < 1e6
    server = tcp_of(kernel, owners.ids["server"], rows.INBOUND)
    assert {to: value["accepted"] for to, value in server.items()} == {talk.address: 1}
    talk.ask(b"q" * 5)
    address = talk.address
    talk.close()
    one = tcp_of(kernel, owners.ids["client"])[address]
    assert (one["connects"], one["active"], one["bytes_sent"], one["bytes_received"]) == (1, 0, 100_005, 30_000)
    assert one["rtt_count"] == 0


def test_many_connections_one_series(kernel, owners):
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    talks = [Talk(owners, listener=listener).open() for _ in range(5)]
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["active"], one["rtt_count"]) == (5, 5, 5)
    for talk in talks[:3]:
        talk.client.close()
        talk.server.close()
    settle()
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["active"], one["rtt_count"]) == (5, 2, 2)
    for talk in talks[3:]:
        talk.close()


def test_refused_connect(kernel, owners):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with owners.as_("client"), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    one = tcp_of(kernel, owners.ids["client"])[("127.0.0.1", port)]
    assert (one["connects"], one["failed"], one["active"]) == (0, 1, 0)


def dial_into_nothing(talk: Talk) -> Drops:
    """A connect under way that nobody answers; until the returned rules are left."""
    nothing = Drops(f"type filter hook input priority 0; tcp dport {talk.address[1]} drop")
    talk.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        talk.client.connect(talk.address)
    return nothing


def test_connect_that_nobody_answers(kernel, owners):
    """The application gives up before TCP does: for it, that connect has failed."""
    talk = Talk(owners)
    with dial_into_nothing(talk):
        time.sleep(1.2)
        talk.client.close()
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["failed"], one["active"]) == (0, 1, 0)
    talk.listener.close()


def test_connect_into_a_black_hole_fails_once(late, owners):
    """TCP itself tries on for two minutes."""
    kernel = late(connect_seconds=0.5)
    talk = Talk(owners)
    with dial_into_nothing(talk):
        assert tcp_of(kernel, owners.ids["client"]) == {}
        time.sleep(0.7)
        for _ in range(2):
            (one,) = tcp_of(kernel, owners.ids["client"]).values()
            assert (one["connects"], one["failed"], one["active"]) == (0, 1, 0)
        talk.client.close()
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["failed"], one["active"]) == (0, 1, 0)
    talk.listener.close()


def test_connect_given_up_for_a_faster_one_has_not_failed(kernel, owners):
    """Happy Eyeballs."""
    talk = Talk(owners)
    with dial_into_nothing(talk):
        time.sleep(0.05)
        talk.client.close()
    assert tcp_of(kernel, owners.ids["client"]) == {}
    talk.listener.close()


def test_no_local_port_left_has_failed(kernel, owners):
    """Closed by the kernel at once and without a word: not the application's doing."""
    talk = Talk(owners)
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    before = ports.read_text()
    taken = socket.create_server(("127.0.0.1", 0))
    try:
        ports.write_text(f"{taken.getsockname()[1]} {taken.getsockname()[1]}")
        with pytest.raises(OSError, match="assign"):
            talk.client.connect(talk.address)
    finally:
        ports.write_text(before)
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["failed"]) == (0, 1)
    talk.close()
    taken.close()


CHURN = """
import os, socket, sys, time
address, group, seconds = ("127.0.0.1", int(sys.argv[1])), sys.argv[2], float(sys.argv[3])
with open(group, "w") as file:
    file.write("0")
made, until = 0, time.monotonic() + seconds
while time.monotonic() < until:
    held = []
    for _ in range(10):
        held.append(socket.create_connection(address))
    for client in held:
        client.send(b"12345")
        while client.recv(10):
            pass
        client.close()
    made += len(held)
print(made)
"""
SERVER = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    server, _ = listener.accept()
    server.recv(5)
    server.send(b"abc")
    server.close()
"""


def test_connections_come_and_go_while_they_are_read(kernel, owners):
    """The walker and the end of a connection meet on two CPUs: each connection is counted once, and no counter falls."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(listener.fileno())], pass_fds=[listener.fileno()])
    group = owners.path("client") / "cgroup.procs"
    command = [sys.executable, "-c", CHURN, str(listener.getsockname()[1]), str(group), "4"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE)
    seen: dict[str, list[int]] = {name: [] for name in ("connects", "bytes_sent", "bytes_received")}
    try:
        while client.poll() is None:
            for _ in range(20):
                kernel._loaded.connections.run()
            for one in tcp_of(kernel, owners.ids["client"]).values():
                for name, values in seen.items():
                    values.append(one[name])
    finally:
        client.kill()
        server.kill()
        server.wait()
        listener.close()
    made = int(client.communicate()[0])
    settle()
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    found = {name: one[name] for name in ("connects", "failed", "active", "bytes_sent")}
    assert found == {"connects": made, "failed": 0, "active": 0, "bytes_sent": 5 * made}
    assert 0 <= one["bytes_received"] - 3 * made <= made / 1000, "a FIN that is just arriving may pass for a byte"
    assert len(seen["connects"]) > 10
    for name, values in seen.items():
        assert values == sorted(values), f"{name} fell"


def test_retransmits(kernel, owners):
    talk = Talk(owners).open()
    with Drops(f"type filter hook input priority 0; tcp dport {talk.address[1]} drop"):
        talk.client.sendall(b"x")
        time.sleep(0.7)
    talk.server.recv(1)
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert one["retransmits"] >= 1 and one["bytes_sent"] == 1, one
    assert one["spurious"] == 0 and one["segments"] == 1 + one["retransmits"], one
    talk.close()


def told_by_kernel(end: socket.socket) -> dict[str, int]:
    """The same counters from struct tcp_info."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    at = {"segments": 156, "retransmits": 100, "spurious": 216}
    return {name: struct.unpack_from("=I", info, offset)[0] for name, offset in at.items()}


def test_retransmits_of_a_sound_network_are_spurious(kernel, owners):
    """A request in two small segments, as Python's http.client sends a POST, and a server that reads late: the client's kernel
    probes for a lost tail, and the server's has it already."""
    talk, rounds = Talk(owners).open(), 0
    while rounds < 200 and told_by_kernel(talk.client)["retransmits"] < 3:
        talk.client.send(b"h" * 300)
        talk.client.send(b"b" * 200)
        time.sleep(0.02)
        assert len(talk.server.recv(500, socket.MSG_WAITALL)) == 500
        talk.answer(b"a" * 2000)
        rounds += 1
    truth = told_by_kernel(talk.client)
    assert truth["retransmits"] == truth["spurious"] >= 3, f"no tail loss probe in {rounds} rounds: {truth}"
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert {name: one[name] for name in truth} == truth
    assert (one["bytes_sent"], one["segments"] - one["retransmits"]) == (500 * rounds, 2 * rounds)
    talk.close()


TOTALS = struct.Struct("=QQIIII")  # struct totals of bpf/connection.h; the last one in struct connection is what was flushed


def test_kernel_counters_that_wrap_around(kernel, owners):
    """Segments and retransmits of a socket are 32 bits: 2^32 segments later they go on from 0."""
    talk = Talk(owners).open()
    talk.ask(b"q")
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    connections = kernel._maps["connections"]
    ((key, value),) = (
        (bytes(key), bytes(value))
        for key, value in zip(*connections.read(), strict=True)
        if owners.ids["client"].to_bytes(8, "little") in bytes(value)
    )
    sent, received, segments, retransmits, spurious, zero = TOTALS.unpack(value[-TOTALS.size :])
    assert (sent, received, segments, zero) == (1, 0, one["segments"], 0)
    near_the_end = TOTALS.pack(sent, received, (segments - 1000) % 2**32, (retransmits - 100) % 2**32, (spurious - 10) % 2**32, 0)
    connections.set(key, value[: -TOTALS.size] + near_the_end)
    talk.ask(b"q")
    (later,) = tcp_of(kernel, owners.ids["client"]).values()
    growth = {name: later[name] - one[name] for name in ("bytes_sent", "segments", "retransmits", "spurious")}
    assert growth["bytes_sent"] == 1 and growth["segments"] >= 1001 and growth["retransmits"] >= 100, growth
    assert growth["segments"] < 1010 and growth["retransmits"] < 110 and 10 <= growth["spurious"] < 20, growth
    talk.close()


@pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1"])
def test_ipv6(kernel, owners, host):
    talk = Talk(owners, host=host).open()
    talk.ask(b"x")
    ((destination, one),) = tcp_of(kernel, owners.ids["client"]).items()
    assert destination == (host.removeprefix("::ffff:"), talk.address[1])
    assert (one["connects"], one["bytes_sent"]) == (1, 1)
    talk.close()


def test_actual_destination_known_a_moment_after_the_handshake(kernel, owners):
    """conntrack's event comes later than ESTABLISHED: the connection is counted at the first reading."""
    talk = Talk(owners).open()
    kernel.set_nat(talk.client.getsockname(), talk.address, ("10.232.0.5", 8080))
    table = kernel.read_tcp()
    (row,) = table[(table["key"]["owner"] == owners.ids["client"])]
    assert (rows.address(row["key"]["actual"]), row["key"]["actual_port"]) == ("10.232.0.5", 8080)
    assert row["value"]["connects"] == row["value"]["active"] == 1
    kernel.forget_nat(talk.client.getsockname(), talk.address)
    talk.close()
    (one,) = tcp_of(kernel, owners.ids["client"]).values()
    assert (one["connects"], one["active"]) == (1, 0)


def test_actual_destination_known_late(kernel, owners):
    """The gauge moves to the backend; what was counted before stays where it was."""
    talk = Talk(owners).open()
    kernel.read_tcp()
    kernel.set_nat(talk.client.getsockname(), talk.address, ("10.232.0.5", 8080))
    table = kernel.read_tcp()
    table = table[(table["key"]["owner"] == owners.ids["client"])]
    found = {int(row["key"]["actual_port"]): (int(row["value"]["connects"]), int(row["value"]["active"])) for row in table}
    assert found == {0: (1, 0), 8080: (0, 1)}
    kernel.forget_nat(talk.client.getsockname(), talk.address)
    talk.close()


def test_sockets_open_at_start(load, owners):
    talk = Talk(owners).open()
    talk.ask(b"before")
    kernel = load()
    try:
        assert kernel.features["sockets_at_start"].on
        found = kernel.sockets()
        ours = {
            (int(row["owner"]), int(row["state"]), rows.address(row["local"]), int(row["local_port"]), int(row["pid"]))
            for row in found[found["netns"] == network_inode()]
        }
        client, server = owners.ids["client"], owners.ids["server"]
        port, pid = talk.address[1], os.getpid()
        assert (server, 10, "0.0.0.0", port, pid) in ours
        assert (client, 1, "127.0.0.1", talk.client.getsockname()[1], pid) in ours
        (one,) = tcp_of(kernel, client).values()
        assert (one["connects"], one["active"], one["bytes_sent"]) == (0, 1, 0)
        assert tcp_of(kernel, server) == {}, "the accepted end is not a connection of the server's to somebody"
        talk.ask(b"after")
        talk.close()
        (one,) = tcp_of(kernel, client).values()
        assert (one["active"], one["bytes_sent"]) == (0, 5)
    finally:
        kernel.close()


RESETS = """
import os, resource, socket, struct, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
listener, kept = socket.create_server(("127.0.0.1", 0)), []
for _ in range(4000):
    kept.append(socket.create_connection(listener.getsockname()))
    other, _ = listener.accept()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
print(flush=True)
sys.stdin.read()
"""


def test_connections_reset_while_the_start_walks_over_them_do_not_stay(kernel, owners, two_cpus):
    """Their end comes between the walk's look at the state and its entry. The sockets are kept, so that no memory is used again."""
    here, there = two_cpus
    (walker,) = (each.iterator("walk_files") for each in kernel._loaded._objects if "walk_files" in each.programs)
    stayed = []
    try:
        os.sched_setaffinity(0, {here})
        for _ in range(4):
            with owners.as_("client"):
                resets = subprocess.Popen([sys.executable, "-c", RESETS, str(there)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                while not select.select([resets.stdout], [], [], 0)[0]:
                    walker.run()
                settle()
                owner = owners.ids["client"].to_bytes(8, "little")
                stayed.append(sum(owner in bytes(value) for value in kernel._maps["connections"].read()[1]))
            finally:
                resets.communicate()
    finally:
        walker.link.destroy()
    assert stayed == [0] * 4


def test_a_listener_held_by_several_processes_is_one_socket(load, owners):
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    holders = [subprocess.Popen(["sleep", "60"], pass_fds=[listener.fileno()]) for _ in range(3)]
    try:
        kernel = load()
        found = kernel.sockets()
        found = found[(found["local_port"] == listener.getsockname()[1]) & (found["netns"] == network_inode())]
        assert len(found) == 1 and found["owner"][0] == owners.ids["server"]
        kernel.close()
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
        listener.close()


def test_mappings_of_connections_that_are_gone_are_dropped(kernel):
    source, gone, service = ("10.0.0.1", 1000), ("10.0.0.1", 1001), ("10.96.0.1", 80)
    for end in (source, gone):
        kernel.set_nat(end, service, ("10.244.0.1", 8080))
    before = kernel.map_entries()["nat"]
    kernel.retain_nat([(source, service)])
    assert before >= 2 and kernel.map_entries()["nat"] == 1
    kernel.forget_nat(source, service)
    assert kernel.map_entries()["nat"] == 0


def test_backends_that_keep_their_name(kernel, owners):
    """64 of a destination, in both maps, the 65th is one without a name."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))

    def to_backend(number: int) -> None:
        talk = Talk(owners, listener=listener)
        talk.client.bind(("127.0.0.1", 0))
        source = talk.client.getsockname()
        kernel.set_nat(source, talk.address, (f"10.232.0.{number}", 8080))
        talk.open()
        play(talk, [C(GET), S(OK)])
        talk.client.close()
        talk.server.close()
        settle()
        kernel.forget_nat(source, talk.address)

    def named() -> list[int]:
        tables = (kernel.read_requests(), kernel.read_tcp())
        return [int(((t["key"]["owner"] == owners.ids["client"]) & (t["key"]["actual_port"] > 0)).sum()) for t in tables]

    for number in range(1, 65):
        to_backend(number)
    assert named() == [64, 64]
    to_backend(65)
    assert named() == [64, 64]
    listener.close()


def test_addresses_listened_on_have_a_budget(late, owners):
    """A server of passive FTP opens a port for each transfer."""
    kernel = late(destinations_per_owner=20)
    for talk in [Talk(owners) for _ in range(30)]:  # all listen before any closes: no port twice
        talk.open().close()
    until = time.monotonic() + 2  # the last connections end in the background
    while (found := tcp_of(kernel, owners.ids["server"], rows.INBOUND))["::", 0]["accepted"] < 10 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(found) == 21 and found["::", 0]["accepted"] == 10
    assert tcp_of(kernel, owners.ids["server"]) == {}
    Talk(owners).open().close()
    assert len(tcp_of(kernel, owners.ids["client"])) == 21, "budgets of the two directions are apart"
    assert kernel.expire(0)
    Talk(owners).open().close()
    assert ("::", 0) not in tcp_of(kernel, owners.ids["server"], rows.INBOUND), "given back"


# ---- events ----


@pytest.fixture(autouse=True)
def drained(kernel):
    """What else happens on the node fills the ring within seconds while no test reads it: then the next test's events are lost."""
    kernel.events()


def wait_for(kernel: Kernel, wanted, seconds: float = 2.0) -> list[events.Event]:
    """Events until one satisfies `wanted`."""
    got, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        kernel.wait(0.1)
        got += kernel.events()
        if any(wanted(event) for event in got):
            return got
    raise AssertionError(f"no such event among {got[-20:]}")


def test_listener_opens_and_closes(kernel, owners):
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    address, netns = listener.getsockname(), network_inode()

    def is_ours(opened):
        return lambda e: (
            isinstance(e, events.Listen)
            and (e.local, e.port, e.netns, e.opened, e.owner) == (*address, netns, opened, owners.ids["server"])
        )

    got = wait_for(kernel, is_ours(True))
    assert next(e for e in got if is_ours(True)(e)).pid == os.getpid()
    listener.close()
    wait_for(kernel, is_ours(False))


LISTENS = """
import mmap, os, socket, sys
board, me = mmap.mmap(int(sys.argv[1]), 4096), int(sys.argv[2])
os.sched_setaffinity(0, {int(sys.argv[3])})
for turn in range(1, 256):
    while board[0] != turn:
        pass
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int.from_bytes(board[8:10], "little")))
    board[2 + me] = turn
    while board[1] != turn:
        pass
    listener.listen(8)
    board[4 + me] = turn
    while board[6] != turn:
        pass
    listener.close()
    board[2 + me] = 0
"""


def test_workers_that_listen_at_once_are_all_counted(kernel, two_cpus):
    """SO_REUSEPORT, one listener on each CPU: the port is known until the last one is closed."""
    memory = os.memfd_create("board")
    os.ftruncate(memory, 4096)
    board = mmap.mmap(memory, 4096)  # 0: turn, 1: listen!, 2, 3: bound, 4, 5: listening, 6: close!, 8: port
    workers = [
        subprocess.Popen([sys.executable, "-c", LISTENS, str(memory), str(me), str(cpu)], pass_fds=[memory])
        for me, cpu in enumerate(two_cpus)
    ]

    def both(at: int, value: int) -> None:
        until = time.monotonic() + 20
        while board[at] != value or board[at + 1] != value:
            assert time.monotonic() < until and not any(worker.poll() for worker in workers)
            time.sleep(0)

    try:
        counted = []
        for turn in range(1, 256):
            with socket.socket() as holder:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                holder.bind(("127.0.0.1", 0))
                port = holder.getsockname()[1]
                board[8:10] = port.to_bytes(2, "little")
                board[0] = turn
                both(2, turn)
                board[1] = turn
                both(4, turn)
                listener = kernel._maps["listeners"].get(struct.pack("=II", network_inode(), port))
                counted.append(struct.unpack("=QQQ", listener)[1])
                board[6] = turn
                both(2, 0)
        assert counted == [2] * 255, f"{counted.count(1)} of 255 times one of two was lost"
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        os.close(memory)


def test_process_starts_and_ends(kernel, owners):
    with owners.as_("client"):
        process = subprocess.Popen(["sh", "-c", "exit 3"])
    process.wait()
    got = wait_for(kernel, lambda e: isinstance(e, events.ProcessExit) and e.pid == process.pid)
    (start,) = [e for e in got if isinstance(e, events.ProcessExec) and e.pid == process.pid]
    (end,) = [e for e in got if isinstance(e, events.ProcessExit) and e.pid == process.pid]
    assert (start.comm, start.owner) == ("sh", owners.ids["client"])
    assert (end.exit_code >> 8, end.exit_code & 127, end.owner) == (3, 0, owners.ids["client"])
    assert start.at < end.at


def test_threads_are_not_processes(kernel):
    code = "import threading; [t.start() or t.join() for t in [threading.Thread(target=int) for _ in range(5)]]"
    process = subprocess.Popen(["python3", "-c", code])
    process.wait()
    got = wait_for(kernel, lambda e: isinstance(e, events.ProcessExit) and e.pid == process.pid)
    assert sum(isinstance(e, events.ProcessExit) and e.pid == process.pid for e in got) == 1


def test_cgroup_made_and_removed(kernel, owners):
    made = owners.path("client") / "job"
    made.mkdir()
    inode = made.stat().st_ino
    made.rmdir()

    def is_ours(e):
        return isinstance(e, events.CgroupChange) and e.owner == inode

    got = [e for e in wait_for(kernel, lambda e: is_ours(e) and not e.created) if is_ours(e)]
    assert [(e.created, e.hierarchy) for e in got] == [(True, 0), (False, 0)]
    assert got[0].path == "/" + str(made.relative_to(owners._root))


# The machine's own answers pass by too: only those of the test are looked at.


def test_dns_answer(kernel, owners):
    with owners.as_("server"):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with owners.as_("client"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("127.0.0.1", 53))
        client.bind(("127.0.0.1", 0))
        question = b"\x12\x34\x01\x00" + b"question"
        answer = b"\x12\x34\x81\x80" + bytes(range(256)) * 3
        client.sendto(question, ("127.0.0.1", 53))
        server.sendto(answer, client.getsockname())

        def is_ours(event):
            return isinstance(event, events.DnsAnswer) and event.owner == owners.ids["client"]

        (one,) = [e for e in wait_for(kernel, is_ours) if is_ours(e)]
        assert one.payload == answer[:512]


def test_dns_flood_is_cut_and_counted(kernel):
    answer, others = b"\0\0\x81\x80answer", 50
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 53))
        client.bind(("127.0.0.1", 0))
        before = kernel.counters().events_lost["dns_rate"]
        kernel.events()
        for _ in range(1000):
            server.sendto(answer, client.getsockname())
    got = sum(isinstance(e, events.DnsAnswer) and e.payload == answer for e in kernel.events())
    assert 0 < got <= 300
    assert 1000 - got <= kernel.counters().events_lost["dns_rate"] - before <= 1000 - got + others


def test_events_that_do_not_fit_are_counted(kernel):
    """The ring holds 512 KiB; what nobody reads in time is lost, never the counters."""
    kernel.events()
    before = kernel.counters().events_lost["ring"]
    for _ in range(2000):
        socket.create_server(("127.0.0.1", 0)).close()
    assert len(kernel.events()) > 1000
    assert kernel.counters().events_lost["ring"] == before, "4,000 small events fit"
    for _ in range(5000):
        socket.create_server(("127.0.0.1", 0)).close()
    assert kernel.counters().events_lost["ring"] > before
    kernel.events()


def test_programs_measure_themselves(kernel, owners):
    talk = Talk(owners).open()
    for _ in range(6000):
        talk.client.send(b"x")
        talk.server.recv(1)
    talk.close()
    for name in ("ingress", "egress"):
        cost = kernel.counters().programs[name]
        assert cost.runs >= 1024 and 1e-8 < cost.seconds / cost.runs < 1e-2, f"{name}: {cost}"
