"""Keeps the kernel side told which pod really answers behind a Service's address."""

import errno
import ipaddress
import select
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ..features import Features
from . import conntrack
from .conntrack import Translation

FEATURE = "actual_destination"
RETRY_SECONDS = 60.0
_EVENTS_SETTING = Path("/proc/sys/net/netfilter/nf_conntrack_events")

Endpoint = tuple[str, int]


class Translator:
    """A thread that passes on what connection tracking knows: everything at start and after a loss, then each change."""

    def __init__(self, features: Features, set_nat: Callable[[Endpoint, Endpoint, Endpoint], None],
                 forget_nat: Callable[[Endpoint, Endpoint], None],
                 retain_nat: Callable[[Iterable[tuple[Endpoint, Endpoint]]], None]) -> None:
        self.lost = 0  # overflows of the socket, each followed by a new dump
        self.refused = 0  # translations that found the kernel's map full
        self._features = features
        self._set = set_nat
        self._forget = forget_nat
        self._retain = retain_nat
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="conntrack", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except OSError as error:
                self._features.off(FEATURE, f"connection tracking cannot be read: {error.strerror}")
            self._stopping.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        if _EVENTS_SETTING.exists() and _EVENTS_SETTING.read_text().strip() == "0":
            raise OSError(0, "net.netfilter.nf_conntrack_events is 0")
        events = conntrack.Events()
        try:
            self._renew()  # subscribed before, so nothing falls between
            self._features.on(FEATURE)
            poller = select.poll()
            poller.register(events, select.POLLIN)
            while not self._stopping.is_set():
                if poller.poll(1000):
                    self._pass_on(events.read())
                if events.lost:
                    self.lost += events.lost
                    events.lost = 0
                    self._renew()
        finally:
            events.close()

    def _renew(self) -> None:
        """Pass on what exists now, and drop the rest: the event of its end may be among the lost ones, and the next
        connection between the same ports would be shown with its backend."""
        current = list(conntrack.dump())
        self._pass_on(current)
        self._retain([(_endpoint(translation.source), _endpoint(translation.dialled)) for translation in current])

    def _pass_on(self, translations: Iterable[Translation]) -> None:
        for translation in translations:
            if translation.ended:
                self._forget(_endpoint(translation.source), _endpoint(translation.dialled))
                continue
            try:
                self._set(*map(_endpoint, (translation.source, translation.dialled, translation.actual)))
            except OSError as error:
                if error.errno != errno.E2BIG:
                    raise
                self.refused += 1


def _endpoint(address: conntrack.Address) -> Endpoint:
    return str(ipaddress.ip_address(address[0])), address[1]
