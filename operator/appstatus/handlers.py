"""``appstatus-operator``: the operator's process. Threads: watch (kopf), lease, audit, probes; the main one waits for the end."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

from appstatus import logs, probes
from appstatus.cluster.lease import Lease
from appstatus.cluster.writing import Writer
from appstatus.config import BadSetting, Config, from_environment
from appstatus.crds import apply_crds
from appstatus.engine import Engine
from appstatus.kube import Kube, NoCluster
from appstatus.metrics import OperatorMetrics
from appstatus.sources.kubernetes import Cache
from appstatus.stores import Stores
from appstatus.watch import Watch

log = logging.getLogger(__name__)

CRDS = Path("/usr/share/appstatus/crds")
# The step of the loop while no Project says otherwise.
IDLE_STEP = 15.0
# Without a sign of life for this long the process is restarted: the audit counts its own cycles, the watch its event loop.
STUCK_AUDIT = 180.0
STUCK_WATCH = 60.0
GRACE = 20.0


class Operator:
    """Owns the threads. ``run`` returns the exit status."""

    def __init__(self, config: Config, kube: Kube) -> None:
        self.config = config
        self.kube = kube
        self.stop = threading.Event()
        self.exit_status = 0
        self.metrics = OperatorMetrics(version("appstatus"), config.cluster)
        self.cache = Cache(clock=time.time)
        self.watch = Watch(kube, self.cache, self.stop)
        self.lease = Lease(kube, config.namespace, config.lease, config.identity)
        writer = Writer(kube, allowed=lambda: self.lease.holding)
        stores = Stores(kube, config.namespace)
        self.engine = Engine(config, self.cache, stores, writer, self.metrics)
        self._beat = time.monotonic()
        self._audited = threading.Event()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        try:
            server = probes.serve(
                self.config.host, self.config.port, health=self.health, ready=self.ready, metrics=self.metrics.text
            )
        except OSError as error:
            log.error("Cannot listen on %s:%d: %s", self.config.host, self.config.port, error.strerror)
            return 2
        log.info("appstatus-operator %s, replica %s, API server %s", version("appstatus"), self.config.identity, self.kube.server)
        self.watch.start()
        lease_stop = threading.Event()
        lease = threading.Thread(target=self.lease.run, args=(lease_stop, self._lost), name="lease", daemon=True)
        lease.start()
        audit = threading.Thread(target=self._audit, name="audit", daemon=True)
        audit.start()
        self.stop.wait()
        log.info("Stopping")
        audit.join(GRACE)
        # Only now: the lease is for whoever writes, and the audit's last writes must be done.
        lease_stop.set()
        lease.join(5.0)
        server.shutdown()
        self.engine.close()
        return self.exit_status

    def health(self) -> str:
        if time.monotonic() - self._beat > STUCK_AUDIT:
            return "the audit does not advance"
        if self.watch.synced.is_set() and self.watch.age() > STUCK_WATCH:
            return "the watch's event loop does not turn"
        if self.watch.failing() > STUCK_AUDIT:
            return "watching the API server fails again and again"
        return ""

    def ready(self) -> str:
        """A standby is ready too: its caches are filled and it has judged once."""
        if not self.watch.synced.is_set():
            return "waiting for the first listing of the API server's objects"
        if not self._audited.is_set():
            return "waiting for the first audit cycle"
        return ""

    def _audit(self) -> None:
        while not self.watch.synced.wait(1.0):
            self._beat = time.monotonic()
            if self.stop.is_set():
                return
        due = time.monotonic()
        while not self.stop.is_set():
            self._beat = time.monotonic()
            try:
                with self.metrics.cycle_seconds.time():
                    log.info(self.engine.cycle(time.time()))
                self._audited.set()
            except Exception:
                self.metrics.failures.inc()
                log.exception("The audit cycle failed; the next one starts as usual")
            due = max(due + (self.engine.step or IDLE_STEP), time.monotonic())
            while not self.stop.is_set() and time.monotonic() < due:
                self._beat = time.monotonic()
                self.stop.wait(min(due - time.monotonic(), 1.0))

    def _lost(self) -> None:
        """Another replica leads. What this one holds in memory may contradict what the other writes, so it starts from anew."""
        log.error("The lease is held by %s now; this replica ends and comes back as a standby", self.lease.holder)
        logging.shutdown()
        os._exit(3)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="appstatus-operator", description="The operator of appstatus; settings come from the environment."
    )
    parser.add_argument("--version", action="version", version=version("appstatus"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    crds = commands.add_parser(
        "apply-crds", help="apply the CustomResourceDefinitions and wait until they are served; for upgrades"
    )
    crds.add_argument("--directory", type=Path, default=CRDS, help="folder with the YAML files (default %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        config = from_environment()
        logs.configure(config.log_format, config.log_level)
        kube = Kube.connect()
    except (BadSetting, NoCluster) as error:
        print(f"appstatus-operator: {error}", file=sys.stderr)
        return 2
    if arguments.command == "apply-crds":
        return apply_crds(kube, arguments.directory)
    return Operator(config, kube).run()


if __name__ == "__main__":
    sys.exit(main())
