#!/usr/bin/env python3
"""What the node agent costs, loses and slows down under HTTP load: with it and without, or beside another agent.

nginx (one worker, `return 200`) answers a load generator over loopback, each in a cgroup of its own. For every load and
repetition the variants run one after the other, because this is the only comparison that holds on a machine whose speed drifts:
without any agent, with ours and, if `--agent` names one, with another. An agent is started before its run and stopped after it.

Loads: constant rates (open loop: latency counts from when a request was due) and saturation (closed loop).
Needs root, nginx, a C compiler. Prints medians and ratios; `--json FILE` writes every run.

    benchmarks/agent.py                                        all loads, three repetitions: about ten minutes
    benchmarks/agent.py --rates 10000 --repetitions 1 --saturation-seconds 0
    benchmarks/agent.py --idle-connections 100000              memory of idle keep-alive connections instead
    benchmarks/agent.py --agent 'other-agent --listen=127.0.0.1:9101' --agent-metrics http://127.0.0.1:9101/metrics
"""

import sys

# The operator's benchmark beside this file has the name of a module of the standard library.
sys.path.append(sys.path.pop(0))

import argparse
import contextlib
import json
import math
import os
import re
import shlex
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from machine import TICKS, describe, user_and_system

HERE = Path(__file__).resolve().parent
OURS = "127.0.0.1:10390"
GROUP = "appstatus-bench"
ROLES = ("nginx", "loadgen", "agent")
CPU_ROOT = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
SATURATION = "saturation"
DRIFT = 0.1  # of the machine's speed, between the runs without an agent on both sides of one with it
DESCRIPTORS = 10_000  # of one process, far below the usual limit
NGINX = """daemon off; worker_processes {workers}; user root; pid {work}/nginx.pid; error_log {work}/nginx.log warn;
events {{ worker_connections 19000; }}
http {{
  access_log off; server_tokens off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {work}/t; proxy_temp_path {work}/t; fastcgi_temp_path {work}/t;
  uwsgi_temp_path {work}/t; scgi_temp_path {work}/t;
  server {{ listen 127.0.0.1:{port} reuseport; location / {{
    default_type application/json;
    return 200 '{{"items":[{{"id":1,"name":"alpha"}},{{"id":2,"name":"beta"}},{{"id":3,"name":"gamma"}}],"page":1}}'; }} }}
  server {{ listen 127.0.0.1:{status_port}; location / {{ stub_status; }} }}
}}
"""


@dataclass(frozen=True)
class Variant:
    """An agent to run beside the load; `command` is empty for none."""

    name: str
    command: list[str]
    metrics: str = ""
    count_client: str = r'^container_http_requests_total\{.*container_id="[^"]*loadgen'
    count_server: str = r'^container_http_inbound_requests_total\{.*container_id="[^"]*nginx'
    ready: str = r'^appstatus_agent_feature\{.*feature="requests".*\} 1$'  # a line that says that requests are counted
    warm_seconds: float = 3.0


@dataclass(frozen=True)
class Load:
    name: str
    mode: str  # of agent_load
    rate: int
    seconds: float


# the machine


def fetch(url: str, timeout: float = 20) -> str:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode("utf-8", "replace")


class Cgroups:
    """A cgroup for each role, in the v2 tree and in those v1 hierarchies that hold figures."""

    def __init__(self) -> None:
        root = Path("/sys/fs/cgroup")
        self.v2 = root if (root / "cgroup.controllers").exists() else root / "unified"
        self.v1 = [root / name for name in ("cpu", "cpuacct", "memory") if (root / name).is_dir()]

    def __enter__(self) -> "Cgroups":
        if self.v2.exists() and not self.v1:
            (self.v2 / GROUP).mkdir(exist_ok=True)
            for folder in (self.v2, self.v2 / GROUP):
                with contextlib.suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text("+cpu +memory")
        for folder in self._all():
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._all():
            for _ in range(50):
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.1)
        for mount in (self.v2, *self.v1):
            with contextlib.suppress(OSError):
                (mount / GROUP).rmdir()

    def _all(self) -> list[Path]:
        return [mount / GROUP / role for mount in (self.v2, *self.v1) if mount.exists() for role in ROLES]

    def joiner(self, role: str):
        """For preexec_fn: puts the new process into the role's cgroups."""

        def join() -> None:
            for mount in (self.v2, *self.v1):
                if mount.exists():
                    (mount / GROUP / role / "cgroup.procs").write_text("0")

        return join

    def cpu_seconds(self, role: str) -> float:
        usage = Path("/sys/fs/cgroup/cpuacct", GROUP, role, "cpuacct.usage")
        if usage.exists():
            return int(usage.read_text()) / 1e9
        lines = (self.v2 / GROUP / role / "cpu.stat").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("usage_usec"))) / 1e6

    def memory_bytes(self, role: str) -> int:
        """What the kernel charges to the role: process memory, BPF maps, socket storage."""
        for name in (
            Path("/sys/fs/cgroup/memory", GROUP, role, "memory.usage_in_bytes"),
            self.v2 / GROUP / role / "memory.current",
        ):
            if name.exists():
                return int(name.read_text())
        return 0


def machine_seconds() -> float:
    """CPU time of all tasks: exact where the cpuacct hierarchy exists, else from ticks."""
    if CPU_ROOT.exists():
        return int(CPU_ROOT.read_text()) / 1e9
    fields = [int(value) for value in Path("/proc/stat").read_text().split()[1:9]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / TICKS


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def descriptors(pid: int) -> list[dict[str, str]]:
    """fdinfo of a process's descriptors as tables: BPF programs and maps show their figures there."""
    found = []
    for name in Path(f"/proc/{pid}/fdinfo").glob("*"):
        with contextlib.suppress(OSError):
            found.append(dict(line.split(":\t", 1) for line in name.read_text().splitlines() if ":\t" in line))
    return found


def map_bytes(pid: int) -> int:
    maps = {info["map_id"]: int(info["memlock"]) for info in descriptors(pid) if "map_id" in info and "memlock" in info}
    return sum(maps.values())


def program_times(pid: int) -> dict[str, tuple[int, int]]:
    """BPF programs of a process: id -> (run time ns, runs)."""
    return {
        info["prog_id"]: (int(info["run_time_ns"]), int(info["run_cnt"]))
        for info in descriptors(pid)
        if "run_time_ns" in info and "prog_id" in info
    }


# what runs


class Server:
    """nginx in its cgroup."""

    def __init__(self, groups: Cgroups, work: Path, workers: int, port: int) -> None:
        self.port, self.status_port = port, port + 1
        config = work / "nginx.conf"
        config.write_text(NGINX.format(work=work, port=port, status_port=self.status_port, workers=workers))
        self._process = subprocess.Popen(
            ["nginx", "-c", str(config), "-e", str(work / "nginx.log")],
            preexec_fn=groups.joiner("nginx"),
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                self.served()
                return
            time.sleep(0.05)
        raise SystemExit(f"nginx does not answer on port {self.status_port}; see {work}/nginx.log")

    def served(self) -> int:
        """Requests answered so far (this question is one of them)."""
        return int(fetch(f"http://127.0.0.1:{self.status_port}/").splitlines()[2].split()[2])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


class Agent:
    """A running agent and how long it took from its start to the first answer of its metrics."""

    def __init__(self, variant: Variant, groups: Cgroups, work: Path) -> None:
        self.variant = variant
        self.log = work / f"{variant.name}.log"
        before = groups.cpu_seconds("agent")
        began = time.perf_counter()
        with self.log.open("a") as log:
            self._process = subprocess.Popen(variant.command, stdout=log, stderr=log, preexec_fn=groups.joiner("agent"))
        self.pid = self._process.pid
        self.start_seconds = self._wait_for("", began)
        self.ready_seconds = self._wait_for(variant.ready, began)
        self.start_cpu_seconds = groups.cpu_seconds("agent") - before
        time.sleep(variant.warm_seconds)

    def _wait_for(self, pattern: str, began: float) -> float:
        """Seconds since `began` when the metrics are there and have a line of this pattern."""
        while True:
            if self._process.poll() is not None:
                raise SystemExit(f"{self.variant.name} ended with {self._process.returncode}; it said:\n{self.log.read_text()}")
            with contextlib.suppress(OSError):
                if re.search(pattern, fetch(self.variant.metrics, timeout=2), re.MULTILINE):
                    return time.perf_counter() - began
            if time.perf_counter() - began > 120:
                self.stop()
                raise SystemExit(f"{self.variant.name} is not ready at {self.variant.metrics}; it said:\n{self.log.read_text()}")
            time.sleep(0.01)

    def scrape(self) -> tuple[str, float]:
        began = time.perf_counter()
        text = fetch(self.variant.metrics)
        return text, time.perf_counter() - began

    def counted(self) -> tuple[float, float]:
        """Requests counted so far at the client and at the server."""
        lines = self.scrape()[0].splitlines()
        return tuple(
            sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(pattern, line))
            for pattern in (self.variant.count_client, self.variant.count_server)
        )

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Bench:
    def __init__(self, options: argparse.Namespace, groups: Cgroups, work: Path) -> None:
        self.options, self.groups, self.work = options, groups, work
        self.generator = work / "agent_load"
        subprocess.run(["cc", "-O2", "-o", str(self.generator), str(HERE / "agent_load.c")], check=True)

    def measure(self, server: Server, load: Load, agent: Agent | None) -> dict:
        """One run of one load: its figures as a flat table."""
        waited = self._wait_for_quiet()
        # nginx counts the questions for its count too: asked outside the agent's two readings, they are in neither difference.
        served = server.served()
        counted = agent.counted() if agent else (0, 0)
        machine = machine_seconds()
        cpu = {role: self.groups.cpu_seconds(role) for role in ROLES}
        split = user_and_system(agent.pid) if agent else (0, 0)
        own = sum(os.times()[:2])
        began = time.perf_counter()
        result = self._generate(server, load)
        wall = time.perf_counter() - began
        cpu = {role: (self.groups.cpu_seconds(role) - before) / wall * 1000 for role, before in cpu.items()}
        foreign = (machine_seconds() - machine - sum(os.times()[:2]) + own) / wall * 1000 - sum(cpu.values())
        row = {
            "load": load.name,
            "variant": agent.variant.name if agent else "without",
            **result,
            "server_mcpu": cpu["nginx"],
            "generator_mcpu": cpu["loadgen"],
            "foreign_mcpu": foreign,
            "waited_seconds": waited,
        }
        if agent:
            user, system = (after - before for after, before in zip(user_and_system(agent.pid), split, strict=True))
            row |= {"agent_mcpu": cpu["agent"], "agent_user_mcpu": user / wall * 1000, "agent_system_mcpu": system / wall * 1000}
            time.sleep(self.options.settle)
            row |= self._after(server, agent, result["requests"], counted, served)
        return row

    def _after(self, server: Server, agent: Agent, requests: int, counted: tuple, served: int) -> dict:
        scrapes = [agent.scrape() for _ in range(5)]
        client, at_server = (after - before for after, before in zip(agent.counted(), counted, strict=True))
        answered = server.served() - served - 1
        return {
            "answered_by_server": answered,
            "counted_client": client,
            "counted_server": at_server,
            "lost_client_percent": 100 * (1 - client / requests),
            "lost_server_percent": 100 * (1 - at_server / answered),
            "resident_mib": resident_kib(agent.pid) / 1024,
            "map_mib": map_bytes(agent.pid) / 2**20,
            "charged_mib": self.groups.memory_bytes("agent") / 2**20,
            "scrape_ms": statistics.median(seconds for _, seconds in scrapes) * 1000,
            "scrape_lines": scrapes[0][0].count("\n"),
            "start_seconds": agent.start_seconds,
            "ready_seconds": agent.ready_seconds,
            "start_cpu_seconds": agent.start_cpu_seconds,
        }

    def _generate(self, server: Server, load: Load) -> dict:
        command = [
            str(self.generator),
            load.mode,
            str(server.port),
            str(self.options.connections),
            str(load.rate),
            str(load.seconds),
        ]
        done = subprocess.run(command, preexec_fn=self.groups.joiner("loadgen"), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    def program_cost(self, server: Server, load: Load, agent: Agent) -> dict:
        """Run time of the agent's BPF programs for each request, by the kernel's statistics (they add tens of ns a run)."""
        switch = Path("/proc/sys/kernel/bpf_stats_enabled")
        before_switch = switch.read_text()
        switch.write_text("1")
        try:
            before = program_times(agent.pid)
            requests = self._generate(server, load)["requests"]
            after = program_times(agent.pid)
        finally:
            switch.write_text(before_switch)
        spent = [[now - then for now, then in zip(after[key], before.get(key, (0, 0)), strict=True)] for key in after]
        return {
            "bpf_ns_per_request": sum(ns for ns, _ in spent) / requests,
            "bpf_runs_per_request": sum(n for _, n in spent) / requests,
        }

    def idle_cost(self, agent: Agent, seconds: float) -> dict:
        before, began = self.groups.cpu_seconds("agent"), time.perf_counter()
        time.sleep(seconds)
        return {
            "idle_mcpu": (self.groups.cpu_seconds("agent") - before) / (time.perf_counter() - began) * 1000,
            "idle_resident_mib": resident_kib(agent.pid) / 1024,
            "idle_charged_mib": self.groups.memory_bytes("agent") / 2**20,
        }

    def _wait_for_quiet(self) -> float:
        """Wait until others use little of the machine, but not for ever; what they used during the run is in its row."""
        began = time.monotonic()
        while True:
            used, own, at = machine_seconds(), sum(os.times()[:2]) + self.groups.cpu_seconds("agent"), time.monotonic()
            time.sleep(1)
            own = sum(os.times()[:2]) + self.groups.cpu_seconds("agent") - own
            busy = (machine_seconds() - used - own) / (time.monotonic() - at) * 1000
            if busy < self.options.quiet or time.monotonic() - began > self.options.patience:
                return time.monotonic() - began


def tell(row: dict) -> dict:
    """The row, after a line about it for who waits."""
    print(
        f"{time.strftime('%H:%M:%S')} {row['load']:>10} {row['variant']:<10} {row['per_second']:>8.0f}/s "
        f"p50 {row['p50_us']} p99 {row['p99_us']} us, agent {row.get('agent_mcpu', 0):.0f}, others {row['foreign_mcpu']:.0f} mCPU",
        file=sys.stderr,
        flush=True,
    )
    return row


def run_loads(bench: Bench, variants: list[Variant], options: argparse.Namespace) -> list[dict]:
    loads = [Load(f"{rate}/s", "rate", rate, options.seconds) for rate in options.rates]
    if options.saturation_seconds:
        loads.append(Load(SATURATION, "full", 0, options.saturation_seconds))
    found: list[dict] = []
    server = Server(bench.groups, bench.work, workers=1, port=options.port)
    try:
        for repetition in range(options.repetitions):
            for load in loads:
                for variant in variants:
                    agent = Agent(variant, bench.groups, bench.work) if variant.command else None
                    try:
                        row = bench.measure(server, load, agent)
                        if agent and repetition == 0 and load is loads[0]:
                            row |= bench.idle_cost(agent, options.idle_seconds)
                        if agent and load.rate == 10_000:
                            row |= bench.program_cost(server, load, agent)
                    finally:
                        if agent:
                            agent.stop()
                    found.append(tell(row))
        for load in loads:  # so that the last run with an agent is between two without, too
            found.append(tell(bench.measure(server, load, None)))
    finally:
        server.stop()
    return found


def run_idle(bench: Bench, variants: list[Variant], options: argparse.Namespace) -> list[dict]:
    """Memory charged to the agent before, while and after `--idle-connections` keep-alive connections are open."""
    processes = math.ceil(options.idle_connections / DESCRIPTORS)
    found = []
    for variant in variants[1:]:
        server = Server(bench.groups, bench.work, workers=processes + processes // 2 + 1, port=options.port)
        agent = Agent(variant, bench.groups, bench.work)
        generators = []
        try:
            before, resident_before = bench.groups.memory_bytes("agent"), resident_kib(agent.pid)
            share = math.ceil(options.idle_connections / processes)
            for number in range(processes):
                generators.append(
                    subprocess.Popen(
                        [str(bench.generator), "idle", str(server.port), str(share), str(number + 2), "0"],
                        preexec_fn=bench.groups.joiner("loadgen"),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            opened = sum(json.loads(generator.stdout.readline())["connections"] for generator in generators)
            time.sleep(options.settle + 10)  # two sweeps over all of them
            text, seconds = agent.scrape()
            busy = bench.idle_cost(agent, options.idle_seconds)
            charged, resident = bench.groups.memory_bytes("agent"), resident_kib(agent.pid)
            entries = {
                m[1]: float(m[2]) for m in re.finditer(r'^appstatus_agent_map_entries\{.*map="([^"]*)".*\} (\S+)$', text, re.M)
            }
            found.append(
                {
                    "load": f"{opened} idle connections",
                    "variant": variant.name,
                    "connections": opened,
                    "charged_before_mib": before / 2**20,
                    "charged_mib": charged / 2**20,
                    "charged_bytes_per_connection": (charged - before) / opened,
                    "resident_before_mib": resident_before / 1024,
                    "resident_mib": resident / 1024,
                    "map_mib": map_bytes(agent.pid) / 2**20,
                    "idle_mcpu": busy["idle_mcpu"],
                    "scrape_ms": seconds * 1000,
                    "map_entries": entries,
                }
            )
        finally:
            for generator in generators:
                generator.stdin.close()
                generator.wait()
            agent.stop()
            server.stop()
    return found


# what is printed


def medians(rows: list[dict]) -> dict[tuple[str, str], dict[str, float]]:
    """(load, variant) -> median of every figure."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["load"], row["variant"]), []).append(row)
    return {
        key: {
            name: statistics.median(values)
            for name in dict.fromkeys(name for row in members for name in row)
            if (values := [row[name] for row in members if isinstance(row.get(name), int | float)])
        }
        for key, members in groups.items()
    }


def ratios(rows: list[dict]) -> list[dict]:
    """With an agent against the runs without before and after it (their mean, since the machine's speed drifts): medians.

    Where it drifted by more than DRIFT between those two, nobody knows what the run between was worth: `pairs` are those that count
    (all, if they are fewer than three), `measured` all. `added_us`: CPU time that each request costs more at saturation, all CPUs
    together; `without_us`: what it costs without.
    """
    pairs: dict[tuple[str, str], list[dict]] = {}
    for at, row in enumerate(rows):
        bare = [i for i, other in enumerate(rows) if (other["load"], other["variant"]) == (row["load"], "without")]
        before, after = [i for i in bare if i < at], [i for i in bare if i > at]
        if row["variant"] == "without" or not before:
            continue
        bases = [rows[before[-1]], rows[after[0] if after else before[-1]]]
        base = {name: statistics.mean(base[name] for base in bases) for name in ("per_second", "p50_us", "p99_us")}
        pair = {
            "throughput_kept": row["per_second"] / base["per_second"],
            "p50_ratio": row["p50_us"] / max(1, base["p50_us"]),
            "p99_ratio": row["p99_us"] / max(1, base["p99_us"]),
            "drift": abs(bases[0]["per_second"] - bases[1]["per_second"]) / base["per_second"],
        }
        if row["load"] == SATURATION:
            busy = 1e6 * (os.cpu_count() or 1)
            pair |= {"without_us": busy / base["per_second"], "added_us": busy / row["per_second"] - busy / base["per_second"]}
        pairs.setdefault((row["load"], row["variant"]), []).append(pair)
    found = []
    for (load, variant), measured in pairs.items():
        steady = [pair for pair in measured if pair["drift"] <= DRIFT]
        used = steady if len(steady) >= 3 else measured
        figures = {name: statistics.median(pair[name] for pair in used) for name in used[0]}
        found.append({"load": load, "variant": variant, **figures, "pairs": len(used), "measured": len(measured)})
    return found


COLUMNS = (
    ("per_second", "req/s", 0),
    ("p50_us", "p50 us", 0),
    ("p99_us", "p99 us", 0),
    ("agent_mcpu", "agent mCPU", 1),
    ("agent_user_mcpu", "user", 1),
    ("agent_system_mcpu", "system", 1),
    ("lost_client_percent", "lost client %", 3),
    ("lost_server_percent", "lost server %", 3),
    ("bpf_ns_per_request", "bpf ns/req", 0),
    ("resident_mib", "resident MiB", 1),
    ("map_mib", "maps MiB", 1),
    ("charged_mib", "charged MiB", 1),
    ("start_seconds", "start s", 2),
    ("ready_seconds", "ready s", 2),
    ("scrape_ms", "scrape ms", 1),
    ("idle_mcpu", "idle mCPU", 1),
    ("charged_bytes_per_connection", "bytes/connection", 0),
    ("foreign_mcpu", "others mCPU", 0),
)


def print_tables(result: dict) -> None:
    print(result["machine"])
    shown = [column for column in COLUMNS if any(column[0] in figures for figures in result["medians"].values())]
    table = [["load", "variant", *(title for _, title, _ in shown)]]
    for (load, variant), figures in result["medians"].items():
        table.append([load, variant, *(f"{figures[name]:.{digits}f}" if name in figures else "" for name, _, digits in shown)])
    for ratio in result["ratios"]:
        values = (f"{name} {value:.3f}" for name, value in ratio.items() if isinstance(value, float))
        count = f"{ratio['pairs']} of {ratio['measured']} pairs"
        print(f"{ratio['load']}, {ratio['variant']} against without: {', '.join(values)} (medians of {count})")
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rates",
        type=lambda text: [int(part) for part in text.split(",") if part],
        default=[1000, 5000, 10000, 20000],
        help="requests/s, comma-separated (default 1000,5000,10000,20000)",
    )
    parser.add_argument("--seconds", type=float, default=15, help="of each constant rate (default %(default)s)")
    parser.add_argument("--saturation-seconds", type=float, default=10, help="0: no saturation (default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument(
        "--idle-connections", type=int, default=0, metavar="N", help="measure N idle keep-alive connections instead"
    )
    parser.add_argument("--idle-seconds", type=float, default=15, help="of the idle agent's CPU (default %(default)s)")
    parser.add_argument(
        "--settle", type=float, default=3, help="seconds from the end of load to reading the counts (default %(default)s)"
    )
    parser.add_argument(
        "--quiet", type=float, default=100, metavar="MCPU", help="wait for others to use less (default %(default)s)"
    )
    parser.add_argument("--patience", type=float, default=60, metavar="S", help="but no longer than this (default %(default)s)")
    parser.add_argument("--port", type=int, default=18085, help="of nginx; the next one is its status (default %(default)s)")
    parser.add_argument("--agent", metavar="CMD", help="command line of another agent to measure beside ours")
    parser.add_argument("--agent-metrics", metavar="URL", help="where that agent serves its metrics")
    parser.add_argument(
        "--agent-warm", type=float, default=35, metavar="S", help="seconds it needs before load (default %(default)s)"
    )
    parser.add_argument("--count-client", metavar="REGEX", help="its metric lines to sum as requests counted at the client")
    parser.add_argument("--count-server", metavar="REGEX", help="and at the server (defaults: those that ours has)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    options = parser.parse_args()
    if options.agent and not options.agent_metrics:
        parser.error("--agent needs --agent-metrics URL")
    if os.geteuid():
        parser.error("needs root: it makes cgroups and starts an agent that loads BPF programs")
    return options


def main() -> None:
    options = arguments()
    variants = [
        Variant("without", []),
        Variant("appstatus", [str(Path(sys.executable).parent / "appstatus-agent"), "--listen", OURS], f"http://{OURS}/metrics"),
    ]
    if options.agent:
        patterns = {"count_client": options.count_client, "count_server": options.count_server}
        variants.append(
            Variant(
                "other",
                shlex.split(options.agent),
                options.agent_metrics,
                ready="",
                warm_seconds=options.agent_warm,
                **{name: value for name, value in patterns.items() if value},
            )
        )
    with tempfile.TemporaryDirectory(prefix="appstatus-bench-") as folder, Cgroups() as groups:
        bench = Bench(options, groups, Path(folder))
        # A process that stays keeps the generator's container alive between runs.
        keeper = subprocess.Popen(["sleep", "infinity"], preexec_fn=groups.joiner("loadgen"))
        try:
            rows = (run_idle if options.idle_connections else run_loads)(bench, variants, options)
        finally:
            keeper.kill()
            keeper.wait()
    result = {"machine": describe(), "when": time.strftime("%F %T"), "runs": rows, "medians": medians(rows), "ratios": ratios(rows)}
    print_tables(result)
    if options.json:
        result["medians"] = [
            {"load": load, "variant": variant, **figures} for (load, variant), figures in result["medians"].items()
        ]
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
