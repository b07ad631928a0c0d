"""Addresses and networks of a namespace, from files as /proc shows them; what a wildcard listener means there."""

import sys

import appstatus_agent.network.listening
import pytest
from appstatus_agent.network.addresses import parse_fib_trie, parse_if_inet6, parse_routes, parse_routes6
from appstatus_agent.network.listening import MAX_EXPANDED, MAX_PIDS, Listener, Listeners, expand

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.231.0.0/24 2 0 2
        |-- 10.231.0.0
           /24 link UNICAST
        |-- 10.231.0.1
           /32 host LOCAL
        |-- 10.231.0.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 02 40 00 80     eth0
fe800000000000000000000000000002 02 40 20 80     eth0
"""
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
cni0\t0000E70A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
down0\t0000000A\t00000000\t0000\t0\t0\t0\t000000FF\t0\t0\t0
"""
ROUTES6 = """fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 00000001 eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 1 0 00000003 eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 2 0 80200001       lo
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 4 0 00000001 eth0
"""  # noqa: E501


def test_local_addresses():
    assert parse_fib_trie(FIB_TRIE) == {"10.231.0.1", "127.0.0.1", "192.0.2.2"}
    assert parse_if_inet6(IF_INET6.splitlines()) == {"::1", "fd00::2"}


@pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")
def test_networks_are_all_routes_but_the_default_and_link_local():
    assert parse_routes(ROUTES.splitlines()) == {"10.231.0.0/24", "192.0.2.0/24"}
    assert parse_routes6(ROUTES6.splitlines()) == {"fd00::/64"}


@pytest.mark.parametrize(
    "ip,local,shown",
    [
        ("10.1.2.3", {"10.1.2.3"}, ["10.1.2.3"]),
        ("127.0.0.1", {"127.0.0.1", "10.1.2.3"}, ["127.0.0.1"]),
        ("0.0.0.0", {"127.0.0.1", "10.1.2.3", "fd00::3"}, ["10.1.2.3"]),
        ("::", {"127.0.0.1", "::1", "10.1.2.3", "fd00::3"}, ["10.1.2.3", "fd00::3"]),
        ("0.0.0.0", {"127.0.0.1"}, ["0.0.0.0"]),
        ("0.0.0.0", {f"10.0.0.{n}" for n in range(MAX_EXPANDED + 1)}, ["0.0.0.0"]),
    ],
    ids=["as it is", "loopback stays", "IPv4 wildcard", "wildcard of both", "no address", "too many addresses"],
)
def test_a_wildcard_is_every_address_of_its_namespace(ip, local, shown):
    assert expand(ip, local) == shown


def test_an_address_is_listened_on_until_its_last_socket_closes():
    listeners, listener = Listeners(), Listener(owner=7, netns=1, ip="10.1.2.3", port=80)
    listeners.opened(listener, pid=0)
    listeners.opened(listener, pid=0)
    listeners.closed(listener)
    assert listeners.items() == {(7, "10.1.2.3", 80)}
    listeners.closed(listener)
    assert listeners.items() == set()


def test_the_end_of_an_unknown_listener_is_survived():
    listeners = Listeners()
    listeners.closed(Listener(owner=7, netns=1, ip="10.1.2.3", port=80))
    assert listeners.items() == set()


def test_few_processes_of_a_namespace_are_remembered_and_one_that_lives_is_among_them(monkeypatch):
    """The node's own namespace is never without listeners, and processes that listen for a moment come and go in it."""
    alive, asked = {1}, []
    address = ["10.0.0.1"]

    def of_process(pid):
        asked.append(pid)
        return {*address} if pid in alive else set()

    monkeypatch.setattr(appstatus_agent.network.listening, "local_addresses", of_process)
    listeners, wildcard = Listeners(), Listener(owner=7, netns=1, ip="0.0.0.0", port=80)
    listeners.opened(wildcard, pid=1)
    for pid in range(1000, 3000):
        brief = Listener(owner=7, netns=1, ip="127.0.0.1", port=pid)
        listeners.opened(brief, pid)
        listeners.closed(brief)
        if pid == 2000:
            address[:] = ["10.0.0.2"]
            listeners.refresh()
            assert listeners.items() == {(7, "10.0.0.2", 80)}
    alive, address[:] = {2999}, ["10.0.0.3"]
    asked.clear()
    listeners.refresh()
    assert listeners.items() == {(7, "10.0.0.3", 80)}
    assert len(asked) <= MAX_PIDS


def test_listeners_of_a_container_that_is_gone_leave():
    listeners = Listeners()
    for owner in (7, 8):
        listeners.opened(Listener(owner, 1, "10.1.2.3", 80 + owner), pid=0)
    listeners.forget(lambda owner: owner == 7)
    assert listeners.items() == {(8, "10.1.2.3", 88)}
