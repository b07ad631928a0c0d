#!/usr/bin/env python3
"""What one audit cycle of the operator costs in a cluster of a given size: CPU, memory, queries, writes.

The operator is the real process, its API server a real etcd and kube-apiserver that hold the cluster's objects, its store a real
Prometheus that scrapes an exposition like that of the node agents, one target for each node. What the pods do is invented; nothing
runs in them. With `--past` Prometheus begins with so many hours of the same, churn included, as after running for that long.

Prints each cycle, and the medians of the later half: CPU seconds of the operator's process, resident memory, queries, KiB of
answers (compressed), statuses written, and the time of each stage.

    benchmarks/operator.py --applications 15 --pods 50 --nodes 1 --churn 4 --past 2
    benchmarks/operator.py --applications 500 --pods 5000 --nodes 100 --step 60 --cycles 10
    PYTHONPATH=OTHER/operator benchmarks/operator.py ...      the operator of another checkout, to compare with

Needs Debian's package prometheus, and the API server's binaries (`make apiserver` builds them). About 0.5 GiB of disk and 40 s for
each hour of the past of 50 pods; Prometheus needs about 4 KiB of memory for each of the series (some 400 for each pod).
"""

import sys

# This file has the name of a module of the standard library.
sys.path.append(sys.path.pop(0))
sys.path.extend([f"{sys.path[-1]}/../tests/e2e", f"{sys.path[-1]}/../tests/e2e/operator"])

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import objects
from appstatus.crds import apply_crds
from appstatus.kube import Kube
from cluster.apiserver import ApiServer, api_server
from machine import describe, user_and_system
from operator_cluster import SERVICES, Cluster
from promprocess import PrometheusProcess
from replica import Replica

ROOT = Path(__file__).resolve().parents[1]
STAGE = re.compile(r"(\w+) (\d+) ms(?: \((\d+) CPU\))?")
ASKED = {
    "queries": 'prometheus_http_request_duration_seconds_count{handler="/api/v1/query_range"}',
    "answer_bytes": 'prometheus_http_response_size_bytes_sum{handler="/api/v1/query_range"}',
}
SHOWN = (
    ("cpu_seconds", "CPU s", 2),
    ("wall_seconds", "wall s", 2),
    ("resident_mib", "RSS MiB", 0),
    ("peak_mib", "peak MiB", 0),
    ("queries", "queries", 0),
    ("answer_kib", "answers KiB", 0),
    ("written", "written", 0),
)


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident now, and at most so far."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def asked(url: str) -> dict[str, float]:
    """Range queries that Prometheus has answered so far, and their bytes on the wire (compressed)."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {
        what: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")) for what, name in ASKED.items()
    }


class Watched:
    """The operator's process, cycle by cycle: each ends with a sentence in its log."""

    def __init__(self, replica: Replica, prometheus: PrometheusProcess) -> None:
        self.replica, self.prometheus = replica, prometheus
        self._seen = 0
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        pid = self.replica.process.pid
        return {
            "cpu_seconds": sum(user_and_system(pid)),
            "written": self.replica.metric("appstatus_api_writes_total"),
            **asked(self.prometheus.url),
        }

    def cycle(self, patience: float) -> dict | None:
        """Waits for the next cycle to end; its figures. None while it is not over."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not self.replica.alive:
                raise SystemExit(f"the operator has ended:\n{self.replica.log.read_text()[-3000:]}")
            sentences = [line for line in self.replica.log.read_text().splitlines() if "Judged" in line]
            if len(sentences) > self._seen:
                self._seen = len(sentences)
                return self._figures(sentences[-1])
            time.sleep(0.2)
        return None

    def _figures(self, sentence: str) -> dict:
        now = self._read()
        row = {name: now[name] - self._before[name] for name in now}
        self._before = now
        resident, peak = memory_mib(self.replica.process.pid)
        stages = {name: {"wall_ms": int(wall), "cpu_ms": int(cpu) if cpu else None} for name, wall, cpu in STAGE.findall(sentence)}
        row |= {"resident_mib": resident, "peak_mib": peak, "answer_kib": row.pop("answer_bytes") / 1024, "stages": stages}
        row["wall_seconds"] = sum(stage["wall_ms"] for stage in stages.values()) / 1000
        return row | {"sentence": sentence}


def measure(options: argparse.Namespace, api: ApiServer, work: Path) -> dict:
    begin = time.time()
    start = begin - options.past * 3600
    cluster = Cluster(options.applications, options.pods, options.nodes, options.churn / 60, start)
    prometheus = PrometheusProcess(work / "prometheus", cluster.serve(), options.step)
    past = fill(cluster, prometheus, work, start, begin, options.step) if options.past else 0
    kube = Kube.connect(str(api.kubeconfig))
    if apply_crds(kube, ROOT / "crds"):
        raise SystemExit("the CustomResourceDefinitions cannot be applied")
    cluster.create(kube)
    created = time.time() - begin
    print(f"{options.pods} pods of {options.applications} applications on {options.nodes} nodes, after {created:.0f} s", flush=True)
    prometheus.start()
    replica = Replica("operator", work, api.kubeconfig)
    try:
        time.sleep(3 * options.step)  # rates need two samples
        objects.project(kube, prometheus.url, f"{options.step:g}s")
        replica.start()
        rows = run(options, cluster, kube, Watched(replica, prometheus))
    finally:
        if replica.alive:
            replica.stop()
        prometheus.stop()
    return {"past_samples": past, "live_series": sum(len(each.heads) for node in cluster.lines for each in node), "cycles": rows}


def fill(cluster: Cluster, prometheus: PrometheusProcess, work: Path, start: float, end: float, step: float) -> int:
    file = work / "past.om"
    samples = cluster.write_past(file, start, end, step)
    print(f"{samples} samples of the past", flush=True)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=768h", "--quiet"]
    subprocess.run([*command, str(file), str(prometheus.data)], check=True, stdout=subprocess.DEVNULL)
    file.unlink()
    return samples


def run(options: argparse.Namespace, cluster: Cluster, kube: Kube, watched: Watched) -> list[dict]:
    rows: list[dict] = []
    print("".join(title.rjust(12) for _, title, _ in SHOWN), flush=True)
    give_up = time.monotonic() + options.cycles * options.step * 3 + 300
    while len(rows) < options.cycles and time.monotonic() < give_up:
        cluster.replace_objects(kube, cluster.advance(time.time()))
        row = watched.cycle(1.0)
        if row is not None:
            rows.append(row)
            print("".join(f"{row[name]:.{digits}f}".rjust(12) for name, _, digits in SHOWN), flush=True)
    if not rows:
        raise SystemExit(f"not one cycle:\n{watched.replica.log.read_text()[-3000:]}")
    return rows


def summary(rows: list[dict]) -> dict:
    """Medians of the later half."""
    later = rows[len(rows) // 2 :]
    found = {name: statistics.median(row[name] for row in later) for name, _, _ in SHOWN}
    names = later[-1]["stages"]
    found["stages"] = {
        name: {
            kind: statistics.median(values)
            for kind in ("wall_ms", "cpu_ms")
            if (values := [row["stages"][name][kind] for row in later if row["stages"].get(name, {}).get(kind) is not None])
        }
        for name in names
    }
    return found


def show(result: dict) -> None:
    print(result["machine"])
    medians = result["medians"]
    print(f"{result['live_series']} series exposed, {result['past_samples']} samples of the past; medians of the later half:")
    print(", ".join(f"{title} {medians[name]:.{digits}f}" for name, title, digits in SHOWN))
    for name, stage in medians["stages"].items():
        cpu = f", CPU {stage['cpu_ms']:.0f} ms" if "cpu_ms" in stage else ""
        print(f"  {name}: {stage.get('wall_ms', 0):.0f} ms{cpu}")
    print(result["cycles"][-1]["sentence"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--applications", type=int, required=True, metavar="N")
    parser.add_argument("--pods", type=int, required=True, metavar="N", help="at least one for each application")
    parser.add_argument("--nodes", type=int, required=True, metavar="N")
    parser.add_argument(
        "--churn", type=float, default=0.0, metavar="PODS_PER_MINUTE", help="pods replaced by others (default none)"
    )
    parser.add_argument("--past", type=float, default=0.0, metavar="HOURS", help="of data before the start (default none)")
    parser.add_argument("--step", type=float, default=15.0, metavar="S", help="of scrapes and cycles (default %(default)s)")
    parser.add_argument("--cycles", type=int, default=20, metavar="N", help="to measure (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every cycle")
    options = parser.parse_args()
    if not 0 < options.applications <= options.pods:
        parser.error("--pods must be at least --applications")
    return options


def main() -> None:
    options = arguments()
    flags = (f"--service-cluster-ip-range={SERVICES}",)
    with tempfile.TemporaryDirectory(prefix="appstatus-bench-") as folder, api_server(*flags) as api:
        result = measure(options, api, Path(folder))
    given = {name: value for name, value in vars(options).items() if name != "json"}
    result = {
        "machine": describe(),
        "when": time.strftime("%F %T"),
        "options": given,
        "medians": summary(result["cycles"]),
        **result,
    }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
