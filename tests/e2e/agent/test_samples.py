# SPDX-License-Identifier: Apache-2.0
"""Samples of failed and slow requests, from real sockets to the line that is shown."""

import time
from dataclasses import replace

import pytest
from appstatus_agent.kernel import events, rows
from appstatus_agent.samples import line
from talk import Owners, Talk
from test_protocols import KAFKA, MEMCACHED, MONGO, MYSQL, POSTGRES, REDIS, Protocol, begin

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]

HTTP = Protocol(
    "http", b"GET /carts/7?user=ann HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n", (b"", b""),
)  # fmt: skip
CHUNKS = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + bytes(1024) + b"\r\n") * 3 + b"0\r\n\r\n"
SHOWN = {
    "http": "http GET /carts/*?...", "redis": "redis GET ?", "postgres": "postgres select ?", "mysql": "mysql select a from t",
    "kafka": "kafka Heartbeat v4", "mongo": "mongo find carts",
    "memcached": "memcached get ? ?",
}  # fmt: skip
EACH = [HTTP, replace(HTTP, bad=CHUNKS), REDIS, POSTGRES, MYSQL, KAFKA, MONGO, MEMCACHED]
each = pytest.mark.parametrize("protocol", EACH, ids=lambda each: each.name)


def samples_of(kernel, owners) -> list[events.RequestSample]:
    found = [event for event in kernel.events() if isinstance(event, events.RequestSample)]
    return [sample for sample in found if sample.owner in owners.ids.values()]


def at_begin_of_a_second() -> None:
    """The kernel's, of 2^30 ns: whatever else fails on this node takes from the same ten samples in it."""
    time.sleep(((1 << 30) - time.monotonic_ns() % (1 << 30)) / 1e9)


TRIES = 5


@each
def test_the_second_failure_is_told_with_its_first_bytes(kernel, protocol):
    for _ in range(TRIES):
        owners = Owners()
        talk = Talk(owners).open()
        begin(talk, protocol)
        at_begin_of_a_second()
        for answer in (protocol.good, protocol.bad, protocol.bad, protocol.good):
            talk.ask(protocol.ask)
            talk.answer(answer)
        talk.close()
        owners.remove()
        samples = samples_of(kernel, owners)
        if len(samples) == 2:
            break
    assert sorted(sample.owner for sample in samples) == sorted(owners.ids.values())
    for sample in samples:
        assert line(protocol.name, sample.request) == SHOWN[protocol.name]
        assert (rows.PROTOCOLS[sample.key["protocol"]], rows.STATUSES[sample.status]) == (protocol.name, "5xx")


@each
def test_of_a_new_connection_too(kernel, protocol):
    for _ in range(TRIES):
        owners = Owners()
        talks = [Talk(owners).open() for _ in range(2)]
        at_begin_of_a_second()
        for talk in talks:
            begin(talk, protocol)
            talk.ask(protocol.ask)
            talk.answer(protocol.bad)
        for talk in talks:
            talk.close()
        owners.remove()
        samples = samples_of(kernel, owners)
        if len(samples) == 2:
            break
    assert sorted(sample.owner for sample in samples) == sorted(owners.ids.values())


@each
def test_slow_ones(late, owners, protocol):
    kernel = late(slow_seconds=0.2)
    talk = Talk(owners).open()
    begin(talk, protocol)
    for number in range(1 + TRIES):
        at_begin_of_a_second()
        talk.ask(protocol.ask)
        time.sleep(0.25)
        talk.answer(protocol.good)
        samples = samples_of(kernel, owners)
        if number and len(samples) == 2:
            break
    talk.close()
    assert number and len(samples) == 2
    assert all(0.2e9 < sample.latency < 1e9 and rows.STATUSES[sample.status] == "2xx" for sample in samples)


@each
def test_healthy_requests_and_clients_errors_have_none(kernel, owners, protocol):
    talk = Talk(owners).open()
    begin(talk, protocol)
    for answer in (protocol.good, protocol.refused) * 3:
        talk.ask(protocol.ask)
        talk.answer(answer)
    talk.close()
    assert samples_of(kernel, owners) == []


def test_a_flood_is_cut_and_counted(kernel, owners):
    before = kernel.counters().events_lost["sample_rate"]
    talk = Talk(owners).open()
    at_begin_of_a_second()
    for _ in range(60):
        talk.ask(HTTP.ask)
        talk.answer(HTTP.bad)
    talk.close()
    got = len(samples_of(kernel, owners))
    assert 0 < got <= 20 and kernel.counters().events_lost["sample_rate"] - before >= 2 * 59 - got
