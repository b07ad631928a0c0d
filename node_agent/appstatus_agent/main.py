"""`appstatus-agent --listen ADDR:PORT`: the node agent's command line."""

import argparse
import ipaddress
import logging
import os
import signal
import sys
from pathlib import Path

# Before numpy is loaded: its linear algebra would start a thread and reserve memory for every CPU of the node.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .agent import Agent
from .kernel import rows
from .server import parse_listen, serve

log = logging.getLogger("appstatus_agent")


def _listen(text: str) -> tuple[str, int]:
    try:
        return parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _protocols(text: str) -> tuple[str, ...]:
    wanted = tuple(filter(None, text.split(",")))
    unknown = set(wanted) - set(rows.PROTOCOLS[2:])
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: known are {', '.join(rows.PROTOCOLS[2:])}")
    return wanted


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="appstatus-agent",
        description="Shows what every container of this Linux node does, as Prometheus metrics. Needs root or the "
        "capabilities BPF, PERFMON, NET_ADMIN, SYS_PTRACE and DAC_READ_SEARCH (below kernel 5.11 also SYS_RESOURCE).",
    )
    parser.add_argument("--listen", type=_listen, default=("127.0.0.1", 10301), metavar="ADDR:PORT",
                        help="where to serve /metrics, /samples and /healthz (default 127.0.0.1:10301)")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--cgroup-root", type=Path, default=Path("/sys/fs/cgroup"), metavar="DIR",
                        help="the host's cgroup file systems (default %(default)s)")
    parser.add_argument("--log-root", type=Path, default=Path("/var/log"), metavar="DIR",
                        help="the folder with the host's pods/ and containers/ logs (default %(default)s)")
    parser.add_argument("--cluster-cidr", type=_network, action="append", default=[], metavar="CIDR",
                        help="a network of pods or nodes that this node has no route of its own for; may be given often")
    parser.add_argument("--protocols", type=_protocols, default=rows.PROTOCOLS[2:], metavar="LIST",
                        help="whose requests are read, beside HTTP's (default " + ",".join(rows.PROTOCOLS[2:]) + '; "" for none)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    agent = Agent(arguments.cgroup_root, arguments.log_root, arguments.cluster_cidr, arguments.protocols)
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    signal.signal(signal.SIGINT, lambda *_: agent.stop())
    address, port = arguments.listen
    try:
        serve(arguments.listen, agent.scrape, agent.healthy, agent.samples.text)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", address, port, error.strerror)
        return 1
    log.info("serving http://%s:%d/metrics", address, port)
    agent.run()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
