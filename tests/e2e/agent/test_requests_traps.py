# SPDX-License-Identifier: Apache-2.0
"""What the network and the socket options do to requests: early payload, lost packets, large ones, connections from before."""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from appstatus_agent.kernel import Config, Kernel, rows
from appstatus_agent.kernel.loader import find_cgroup_root
from talk import Talk, requests_of, reset, settle
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


def test_fast_open(kernel, owners):
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("519")  # client, server, without cookies
    listener = listen(owners, (socket.TCP_FASTOPEN, 64))
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
    check(kernel, owners, Case("fast open", [], {"2xx": 3}))


def test_quickack_off(kernel, owners):
    """A client that does not acknowledge at once sends its request with the third packet of the handshake."""
    listener = listen(owners)
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
    check(kernel, owners, Case("QUICKACK off", [], {"2xx": 20}))


# ---- lost and repeated packets ----


class Drops:
    """nftables rules in the test's own network namespace."""

    def __init__(self, rule: str):
        table = "table inet t {\nchain c {\n" + rule.replace("; ", "\n") + "\n}\n}\n"
        subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["nft", "delete", "table", "inet", "t"], check=True)


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


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_packets_beyond_64_kib(kernel, owners, host):
    """BIG TCP, where the kernel has it: parsed, or counted as not parsed."""
    keys = ("gso_max_size", "gro_max_size") if host == "::1" else ("gso_ipv4_max_size", "gro_ipv4_max_size")
    command = ["ip", "link", "set", "lo", *(word for key in keys for word in (key, "180000"))]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no BIG TCP on this kernel or in this iproute2")
    talk = Talk(owners, host=host).open()
    for end in (talk.client, talk.server):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    play(talk, [C(GET), S(answer(b"x" * 3_000_000)), C(post(b"y" * 3_000_000)), S(OK), C(GET), S(FAIL)])
    talk.close()
    check(kernel, owners, Case("BIG TCP", [], {"2xx": 2, "5xx": 1}))


# ---- connections from before ----


@pytest.fixture
def late(load):
    """A kernel side that is loaded only when the test says so."""
    loaded = []

    def now(**settings) -> Kernel:
        loaded.append(load(**({"overdue_seconds": 2} | settings)))
        return loaded[-1]

    yield now
    for kernel in loaded:
        kernel.close()


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


# ---- keys ----


def test_at_most_200_destinations(kernel, owners):
    """The 201st destination of a container and those after it are one series, and counted."""
    folded = kernel.counters().destinations_folded
    with owners.as_("server"):
        listener = socket.create_server(("0.0.0.0", 0), backlog=64)
    for i in range(210):
        talk = Talk(owners, host=f"127.1.{i // 200}.{i % 200 + 1}", listener=listener)
        talk.open()
        play(talk, [C(GET), S(OK)])
        talk.client.close()
        talk.server.close()
    listener.close()
    got = requests_of(kernel, owners.ids["client"])
    other = got.rows[got.rows["key"]["folded"] == 1]
    assert got.ended == {"2xx": 210}
    assert len(got.rows) == 201 and len(other) == 1, f"{len(got.rows)} series, {len(other)} folded"
    assert int(other["value"]["ended"].sum()) == 10
    assert kernel.counters().destinations_folded > folded
    assert requests_of(kernel, owners.ids["server"]).ended == {"2xx": 210}


def test_series_leave_and_give_their_budget_back(kernel, owners):
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    talk.close()
    kernel.forget([owners.ids["client"]])
    assert requests_of(kernel, owners.ids["client"]).ended == {}
    assert requests_of(kernel, owners.ids["server"]).ended == {"2xx": 1}
    assert kernel.expire(3600) == 0
    assert kernel.expire(0) > 0
    assert requests_of(kernel, owners.ids["server"]).ended == {}
    entries = kernel._maps["owners"].get(struct.pack("=Q", owners.ids["client"]))
    assert entries is None, "the owner's budget still counts destinations"


PEERS = [
    # (who, source address, User-Agent, path) -> class
    ("a process of the same pod", "127.0.0.1", "curl/8", "/", "local"),
    ("own address", "10.77.0.1", "curl/8", "/", "local"),
    ("the kubelet on loopback", "127.0.0.1", "kube-probe/1.36", "/healthz", "kubelet"),
    ("the kubelet", "10.77.0.9", "kube-probe/1.36", "/healthz", "kubelet"),
    ("a hook of the kubelet", "10.77.0.9", "kube-lifecycle/1.36", "/", "kubelet"),
    ("another pod that claims to be the kubelet", "10.77.0.2", "kube-probe/1.36", "/", "cluster"),
    ("somebody outside who claims so", "10.99.0.2", "kube-probe/1.36", "/", "outside"),
    ("a pod", "10.77.0.2", "curl/8", "/", "cluster"),
    ("the node itself", "10.77.0.9", "curl/8", "/", "cluster"),
    ("outside", "10.99.0.2", "curl/8", "/", "outside"),
    ("Prometheus", "10.77.0.2", "Prometheus/2.42.0", "/stats", "scrape"),
    ("another scraper", "10.77.0.2", "vmagent", "/stats", "scrape"),
    ("somebody who reads /metrics", "10.77.0.2", "curl/8", "/metrics", "scrape"),
    ("a page that only begins so", "10.77.0.2", "curl/8", "/metrics-of-the-month", "cluster"),
]


@pytest.fixture(scope="module")
def addresses(kernel, network):
    for ip in ("10.77.0.1", "10.77.0.2", "10.77.0.9", "10.99.0.2"):
        subprocess.run(["ip", "address", "add", f"{ip}/32", "dev", "lo"], check=True)
    kernel.set_networks(["10.77.0.9"], ["10.77.0.0/16"])


@pytest.mark.parametrize("who", PEERS, ids=lambda who: who[0])
def test_peer_class(kernel, owners, addresses, who):
    _, source, agent, path, expected = who
    host = "10.77.0.1" if source != "127.0.0.1" else "127.0.0.1"
    talk = Talk(owners, host=host, source=source).open()
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n".encode()
    play(talk, [C(request), S(OK)])
    talk.close()
    assert requests_of(kernel, owners.ids["server"]).peers == {expected: 1}
    assert requests_of(kernel, owners.ids["client"]).peers == {"": 1}


def test_one_connection_mixes_peer_classes(kernel, owners, addresses):
    talk = Talk(owners, host="10.77.0.1", source="10.77.0.2").open()
    play(talk, [C(GET), S(OK), C(GET.replace(b"/cart?id=7", b"/metrics")), S(OK), C(GET), S(OK)])
    talk.close()
    assert requests_of(kernel, owners.ids["server"]).peers == {"cluster": 2, "scrape": 1}


def test_actual_destination(kernel, owners):
    """From the mapping that conntrack gave to user space, also where it came after the first request."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)])
    kernel.set_nat(talk.client.getsockname(), talk.address, ("10.232.0.5", 8080))
    play(talk, [C(GET), S(OK)])
    talk.close()
    got = requests_of(kernel, owners.ids["client"])
    found = {
        (rows.address(row["key"]["actual"]), int(row["key"]["actual_port"])): int(row["value"]["ended"][1]) for row in got.rows
    }
    assert found == {("::", 0): 1, ("10.232.0.5", 8080): 1}


def test_actual_destination_known_late(kernel, owners):
    """conntrack's table is read after a busy connection was first seen (the agent's own start)."""
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)] * 20)
    kernel.set_nat(talk.client.getsockname(), talk.address, ("10.232.0.5", 8080))
    kernel.sweep()
    play(talk, [C(GET), S(OK)] * 3)
    kernel.forget_nat(talk.client.getsockname(), talk.address)
    talk.close()
    got = requests_of(kernel, owners.ids["client"])
    assert {int(row["key"]["actual_port"]): int(row["value"]["ended"][1]) for row in got.rows} == {0: 20, 8080: 3}


def test_backend_in_the_header_on_the_host_network(kernel, owners):
    """Destination NAT in the same namespace: the packet carries the backend while the socket keeps the service."""
    with owners.as_("server"):
        listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with Drops(f"type nat hook output priority -100; ip daddr 10.66.6.6 tcp dport 80 dnat ip to 127.0.0.1:{port}"):
        talk = Talk(owners, host="10.66.6.6", listener=listener)
        talk.address = ("10.66.6.6", 80)
        subprocess.run(["ip", "route", "add", "10.66.6.6/32", "dev", "lo"], check=True)
        talk.open()
        play(talk, [C(GET), S(OK)])
        talk.close()
    (row,) = requests_of(kernel, owners.ids["client"]).rows
    assert (rows.address(row["key"]["destination"]), row["key"]["destination_port"]) == ("10.66.6.6", 80)
    assert (rows.address(row["key"]["actual"]), row["key"]["actual_port"]) == ("127.0.0.1", port)


def test_nested_cgroup_is_its_own_owner(kernel, owners):
    """A container's own sub-cgroup is reported as such; user space finds the container above it."""
    nested = owners.path("client") / "inner"
    nested.mkdir()
    try:
        talk = Talk(owners)
        (nested / "cgroup.procs").write_text("0")
        talk.client = socket.socket()
        (owners._home / "cgroup.procs").write_text("0")
        talk.open()
        play(talk, [C(GET), S(OK)])
        talk.close()
        assert requests_of(kernel, nested.stat().st_ino).ended == {"2xx": 1}
    finally:
        nested.rmdir()


def v1_memory() -> Path | None:
    """Mount of a v1 memory hierarchy beside v2 (hybrid)."""
    path = Path("/sys/fs/cgroup/memory")
    return path if (path / "memory.usage_in_bytes").exists() else None


@pytest.mark.skipif(v1_memory() is None, reason="this machine has no cgroup-v1 hierarchies")
@pytest.mark.parametrize("before", [False, True], ids=["connects later", "open before"])
def test_container_in_v1_hierarchies_only(load, before):
    """The socket's cgroup-v2 id is the root's: the owner is the v1 cgroup of whoever connected or listened."""
    home, root = Path("/proc/self/cgroup").read_text(), find_cgroup_root()
    v1_home = v1_memory() / home.split(":memory:/")[1].split("\n")[0]
    v2_home = root / home.split("0::/")[1].split("\n")[0]
    ids, folders = {}, {}
    for end in ("client", "server"):
        folders[end] = v1_memory() / f"appstatus-test-{os.getpid()}-{end}"
        folders[end].mkdir()
        ids[end] = folders[end].stat().st_ino | rows.OWNER_V1

    kernel = None if before else load()
    (root / "cgroup.procs").write_text("0")
    try:
        (folders["server"] / "cgroup.procs").write_text("0")
        listener = socket.create_server(("127.0.0.1", 0))
        (folders["client"] / "cgroup.procs").write_text("0")
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        kernel = kernel or load()
        for _ in range(2):
            client.sendall(GET)
            server.recv(4096)
            server.sendall(OK)
            client.recv(4096)
        client.close()
        server.close()
        listener.close()
        settle()
        if before:  # one process holds both ends, and it is the client now
            assert requests_of(kernel, ids["client"]).ended == {"2xx": 4}
        else:
            assert requests_of(kernel, ids["client"]).ended == {"2xx": 2}
            assert requests_of(kernel, ids["server"]).ended == {"2xx": 2}
    finally:
        (v2_home / "cgroup.procs").write_text("0")
        (v1_home / "cgroup.procs").write_text("0")
        for folder in folders.values():
            folder.rmdir()
        if kernel:
            kernel.close()


def attached() -> set[int]:
    """Ids of the programs at the cgroup root that are ours."""
    shown = subprocess.run(["bpftool", "-j", "cgroup", "show", find_cgroup_root()], check=True, capture_output=True).stdout
    return {entry["id"] for entry in json.loads(shown or b"[]") if entry["name"] in ("tap_in", "tap_out")}


def test_nothing_stays_when_the_agent_is_killed(objects):
    before = attached()
    code = "import sys, time; from appstatus_agent.kernel import *; Kernel.load(Config()); print(1, flush=True); time.sleep(60)"
    environment = os.environ | {"APPSTATUS_BPF_OBJECTS": str(objects)}
    agent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    agent.stdout.readline()
    assert len(attached() - before) == 2
    agent.kill()
    agent.wait()
    until = time.monotonic() + 5
    while attached() - before and time.monotonic() < until:
        time.sleep(0.05)
    assert attached() - before == set()


def test_two_agents_at_once(kernel, late, owners):
    """As in a rolling update: each counts every request once."""
    other = late()
    talk = Talk(owners).open()
    play(talk, [C(GET), S(OK)] * 3)
    talk.close()
    for each in (kernel, other):
        for end in ("client", "server"):
            assert requests_of(each, owners.ids[end]).ended == {"2xx": 3}
