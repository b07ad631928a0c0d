# SPDX-License-Identifier: Apache-2.0
"""Whose request it is: destinations and their budget, peer classes, translated addresses, owners; and several agents."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from appstatus_agent.kernel import rows
from appstatus_agent.kernel.settings import find_cgroup_root
from talk import Drops, Talk, requests_of, settle
from test_requests import GET, OK, C, S, play

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]

TCP_TX_DELAY = 37  # linux/tcp.h


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
    assert kernel.expire(3600) == []
    assert requests_of(kernel, owners.ids["client"]).ended == {"2xx": 1}
    assert kernel.expire(0)
    assert requests_of(kernel, owners.ids["client"]).ended == requests_of(kernel, owners.ids["server"]).ended == {}
    entries = kernel._maps["owners"].get(struct.pack("=Q", owners.ids["client"]))
    assert entries is None, "the owner's budget still counts destinations"


def test_no_time_stamp_that_a_socket_asked_for_holds_a_series(kernel, owners):
    talk = Talk(owners).open()
    talk.server.setsockopt(socket.IPPROTO_TCP, TCP_TX_DELAY, 200_000_000)  # us; without a qdisc that paces nobody waits
    play(talk, [C(GET), S(OK)])
    talk.close()
    (last_used,) = requests_of(kernel, owners.ids["server"]).rows["value"]["last_used"]
    assert last_used > time.monotonic_ns() + 150_000_000_000
    assert kernel.expire(100)
    assert requests_of(kernel, owners.ids["server"]).ended == {}
    assert requests_of(kernel, owners.ids["client"]).ended == {"2xx": 1}


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


@pytest.mark.skipif(v1_memory() is None, reason="this machine has no cgroup-v1 hierarchies")
def test_abort_after_a_deferred_accept_in_v1_hierarchies_only(load):
    """The request came before its socket was: the listener's packets do not tell whose it is."""
    home, root = Path("/proc/self/cgroup").read_text(), find_cgroup_root()
    v1_home = v1_memory() / home.split(":memory:/")[1].split("\n")[0]
    v2_home = root / home.split("0::/")[1].split("\n")[0]
    folder = v1_memory() / f"appstatus-test-{os.getpid()}"
    folder.mkdir()
    kernel = load()
    try:
        for group in (root, folder):
            (group / "cgroup.procs").write_text("0")
        listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for group in (v2_home, v1_home):
            (group / "cgroup.procs").write_text("0")
        with listener, socket.create_connection(listener.getsockname()) as client:
            client.sendall(GET)
            server, _ = listener.accept()
            server.close()  # with the request unread
            settle()
        assert requests_of(kernel, folder.stat().st_ino | rows.OWNER_V1).ended == {"closed": 1}
    finally:
        for group in (v2_home, v1_home):
            (group / "cgroup.procs").write_text("0")
        folder.rmdir()
        kernel.close()


SHARING = """
import socket, sys
port, answer, protocol, *groups = sys.argv[1:]
for group in groups:
    with open(group, "w") as file:
        file.write("0")
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, int(protocol))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(port)))
listener.listen(64)
print(listener.getsockname()[1], flush=True)
while True:
    with listener.accept()[0] as end:
        end.recv(4096)
        end.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n" + answer.encode())
"""


@pytest.mark.skipif(v1_memory() is None, reason="this machine has no cgroup-v1 hierarchies")
@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, socket.IPPROTO_MPTCP], ids=["TCP", "MPTCP"])
@pytest.mark.parametrize("before", [False, True], ids=["listen later", "open before"])
def test_a_port_shared_by_containers_in_v1_hierarchies_only(load, before, protocol):
    """SO_REUSEPORT on the host network, as an ingress controller during its rolling update: each answers for its own."""
    if protocol == socket.IPPROTO_MPTCP and not Path("/proc/sys/net/mptcp/enabled").exists():
        pytest.skip("this kernel has no MPTCP")
    folders = {name: v1_memory() / f"appstatus-test-{os.getpid()}-{name}" for name in ("old", "new")}
    servers: dict[str, subprocess.Popen] = {}
    kernel, port = None if before else load(), 0
    try:
        for name, folder in folders.items():
            folder.mkdir()
            groups = [find_cgroup_root() / "cgroup.procs", folder / "cgroup.procs"]
            command = [sys.executable, "-c", SHARING, str(port), name, str(protocol), *map(str, groups)]
            servers[name] = subprocess.Popen(command, stdout=subprocess.PIPE)
            port = int(servers[name].stdout.readline())
        kernel = kernel or load()
        ids = {name: folder.stat().st_ino | rows.OWNER_V1 for name, folder in folders.items()}

        def ask(times: int) -> dict[str, int]:
            """Who answered how often."""
            answers = []
            for _ in range(times):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(GET)
                    answers.append(client.makefile("rb").read()[-3:].decode())
            settle()
            return {name: answers.count(name) for name in folders}

        answered = ask(60)
        assert sum(answered.values()) == 60 and min(answered.values()) > 5, f"the port was not shared: {answered}"
        assert {name: requests_of(kernel, owner).ended for name, owner in ids.items()} == {
            name: {"2xx": n} for name, n in answered.items()
        }
        servers["new"].kill()
        servers["new"].wait()
        assert ask(5) == {"old": 5, "new": 0}
        assert requests_of(kernel, ids["old"]).ended == {"2xx": answered["old"] + 5}
        listener_owners = kernel._maps["listener_owners"]  # full, say
        for key in listener_owners.all_keys():
            listener_owners.delete(key)
        unknown = requests_of(kernel, rows.OWNER_UNKNOWN).ended.get("2xx", 0)
        assert ask(5) == {"old": 5, "new": 0}
        assert requests_of(kernel, rows.OWNER_UNKNOWN).ended.get("2xx", 0) == unknown + 5, "an owner was guessed"
    finally:
        for server in servers.values():
            server.kill()
            server.wait()
        for folder in folders.values():
            folder.rmdir()
        if kernel:
            kernel.close()


@pytest.mark.skipif(v1_memory() is None, reason="this machine has no cgroup-v1 hierarchies")
def test_children_of_a_shared_port_leave_nothing_to_later_sockets(load, owners):
    """Containers of v2 share a port; their connections' memory is then used again by those of one in v1 hierarchies only."""
    folder = v1_memory() / f"appstatus-test-{os.getpid()}"
    folder.mkdir()
    kernel, listeners, server, port = load(), [], None, 0
    try:
        for name in ("client", "server"):
            with owners.as_(name):
                listeners.append(socket.socket())
                listeners[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listeners[-1].bind(("127.0.0.1", port))
                listeners[-1].listen(64)
                port = listeners[-1].getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        for end in (*clients, *listeners):  # what was not accepted yet goes with its listener
            end.close()
        time.sleep(0.5)  # a socket's memory is free after a grace period of RCU
        groups = [find_cgroup_root() / "cgroup.procs", folder / "cgroup.procs"]
        server = subprocess.Popen([sys.executable, "-c", SHARING, "0", "one", "0", *map(str, groups)], stdout=subprocess.PIPE)
        port = int(server.stdout.readline())
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(GET)
                assert client.makefile("rb").read().endswith(b"one")
        settle()
        table = kernel.read_tcp()
        table = table[(table["key"]["direction"] == rows.INBOUND) & (table["key"]["destination_port"] == port)]
        accepted = {int(row["key"]["owner"]): int(row["value"]["accepted"]) for row in table}
        assert accepted == {folder.stat().st_ino | rows.OWNER_V1: 100}
    finally:
        if server:
            server.kill()
            server.wait()
        for listener in listeners:
            listener.close()
        kernel.close()
        folder.rmdir()


PARTS = ("tap", "tap_begin", "tap_early", "tap_end")
HOOKS = ("cgroup_inet_ingress", "cgroup_inet_egress")


def attached() -> set[tuple[str, int]]:
    """Links to the hooks of packets, and the programs that are there or are called there (a table of them, in which they are
    themselves, must not keep them)."""
    links, programs = (
        json.loads(subprocess.run(["bpftool", "-j", kind, "show"], check=True, capture_output=True).stdout)
        for kind in ("link", "prog")
    )
    return {("link", entry["id"]) for entry in links if entry.get("attach_type") in HOOKS} | {
        ("program", entry["id"]) for entry in programs if entry.get("name") in PARTS
    }


def test_nothing_stays_when_the_agent_is_killed(objects):
    before = attached()
    code = "import sys, time; from appstatus_agent.kernel import *; Kernel.load(Config()); print(1, flush=True); time.sleep(60)"
    environment = os.environ | {"APPSTATUS_BPF_OBJECTS": str(objects)}
    agent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    agent.stdout.readline()
    assert sorted(kind for kind, _ in attached() - before) == ["link"] * 2 + ["program"] * len(PARTS)
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
