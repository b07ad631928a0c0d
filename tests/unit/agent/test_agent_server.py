"""A page counts as read only when the reader has got it."""

import socket
import struct
import threading
import urllib.request

import pytest
from appstatus_agent.server import serve


@pytest.fixture
def server():
    """Its page is `text` once `ready`; `delivered` tells of each."""
    page = Page()
    running = serve(("127.0.0.1", 0), page.scrape, lambda: "", lambda: "{}\n")
    page.address = running.server_address
    yield page
    running.shutdown()
    running.server_close()


class Page:
    def __init__(self):
        self.text = "figures\n"
        self.asked, self.ready, self.delivered = threading.Event(), threading.Event(), threading.Semaphore(0)

    def scrape(self, reader):
        assert reader == "127.0.0.1"
        self.asked.set()
        assert self.ready.wait(10)
        return self.text, self.delivered.release

    def ask(self):
        client = socket.create_connection(self.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n")
        assert self.asked.wait(10)
        return client


def test_a_page_that_is_fetched_counts(server):
    server.ready.set()
    with urllib.request.urlopen("http://{}:{}/metrics".format(*server.address)) as answer:
        assert answer.read() == b"figures\n"
    assert server.delivered.acquire(timeout=10)


def test_a_page_whose_reader_waited_too_long_does_not_count(server):
    client = server.ask()
    client.shutdown(socket.SHUT_WR)  # as `close`, but for the refusal of the answer: from afar it comes too late
    _answers_and_ends(server)
    client.close()


def test_a_page_that_is_cut_off_does_not_count(server):
    server.text = "figures\n" * 5_000_000
    client = server.ask()
    server.ready.set()
    client.recv(1000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    _answers_and_ends(server)


def _answers_and_ends(server):
    server.ready.set()
    handlers = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    for thread in handlers:
        thread.join(10)
    assert not server.delivered.acquire(blocking=False)
