# SPDX-License-Identifier: Apache-2.0
"""What holds from the first packet on, and when the start goes wrong half-way."""

import os
import re
import subprocess
import threading
import time

import pytest
from appstatus_agent.kernel import rows
from appstatus_agent.kernel.libbpf import BpfError, Object
from appstatus_agent.kernel.loader import EGRESS, Loaded
from talk import Talk, requests_of
from test_requests import GET, OK, C, S, play

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def test_peer_class_of_a_connection_that_talks_while_the_programs_are_attached(load, owners):
    """The class is decided once, with the first payload seen: the networks must be known by then."""
    for ip in ("10.77.0.1", "10.77.0.2"):
        subprocess.run(["ip", "address", "add", f"{ip}/32", "dev", "lo"], check=True)
    talk = Talk(owners, host="10.77.0.1", source="10.77.0.2").open()
    stop = threading.Event()

    def chatter():
        while not stop.is_set():
            play(talk, [C(GET), S(OK)])

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        kernel = load(cluster_cidrs=["10.77.0.0/16"])
    finally:
        stop.set()
        thread.join()
    try:
        play(talk, [C(GET), S(OK)] * 3)
        talk.close()
        assert set(requests_of(kernel, owners.ids["server"]).peers) == {"cluster"}
    finally:
        kernel.close()


def test_one_hook_that_is_refused_takes_the_other_back(load, owners, monkeypatch):
    attach = Object.attach_cgroup

    def refuse_egress(self, program, fd, hook):
        if hook == EGRESS:
            raise BpfError(28, "No space left")
        return attach(self, program, fd, hook)

    monkeypatch.setattr(Object, "attach_cgroup", refuse_egress)
    kernel = load()
    try:
        assert not kernel.features["requests"].on and kernel.features["tcp"].on
        talk = Talk(owners).open()
        play(talk, [C(GET), S(OK)])
        talk.close()
        assert {end: requests_of(kernel, owners.ids[end]).ended for end in ("client", "server")} == {"client": {}, "server": {}}
    finally:
        kernel.close()


def test_protocols_that_nobody_asked_for_are_left_out(late, owners):
    """Their programs are not loaded, the others' requests count."""
    kernel = late(protocols=("redis",))
    off = {name: feature.reason for name, feature in kernel.features.items() if not feature.on}
    assert off == dict.fromkeys(set(rows.PROTOCOLS[2:]) - {"redis"}, "not asked for")
    for ask, answer in ((GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
                        (b"Q\0\0\0\x0dselect 1\0", b"Z\0\0\0\5I")):  # fmt: skip
        talk = Talk(owners).open()
        talk.ask(ask)
        talk.answer(answer)
        talk.close()
    for end in ("client", "server"):
        got = requests_of(kernel, owners.ids[end])
        assert sorted(rows.PROTOCOLS[row["key"]["protocol"]] for row in got.rows) == ["http", "redis"] and got.ended == {"2xx": 2}


def test_where_elements_of_maps_are_not_handed_out_other_walks_do_the_same(late, owners, monkeypatch):
    """What a hardened kernel leaves. A socket that two processes hold counts once."""
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 13):
        pytest.skip("bpf_for_each_map_elem came with 5.13")
    monkeypatch.setattr(Loaded, "_walker", lambda self, walks, walk: walks.iterator(walk.instead))
    kernel = late()
    assert {name for name, feature in kernel.features.items() if not feature.on and feature.reason != "not asked for"} == set()
    talk = Talk(owners).open()
    talk.ask(GET)
    held = (talk.client.fileno(), talk.server.fileno())
    other = subprocess.Popen(["sleep", "60"], pass_fds=held)
    try:
        tcp = kernel.read_tcp()
        (one,) = tcp["value"][(tcp["key"]["owner"] == owners.ids["client"])]
        assert (one["connects"], one["active"], one["bytes_sent"]) == (1, 1, len(GET))
        assert {end: requests_of(kernel, owners.ids[end]).in_flight for end in ("client", "server")} == {"client": 1, "server": 1}
        time.sleep(2.2)
        kernel.sweep()
        for end in ("client", "server"):
            got = requests_of(kernel, owners.ids[end])
            assert (got.ended, got.in_flight) == ({"overdue": 1}, 0), f"{end}: {got}"
    finally:
        other.kill()
        other.wait()
        talk.close()
