"""`make soak`: what takes hours. Healthy load, decoys and every fault, one after the other, again and again.

A fault that users feel at once must give one Event in time, with the right cause, and one recovery; every fault must fail the
checks that its row in the shop's table names, which did not fail before.

Resumable: each result is appended to `soak-results.jsonl` in the cache folder with date and commit; what a commit already has often
enough is skipped. Bounds are the promised ones. Exit status 1 when one did not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster import cluster, images
from product import ROOT, Cluster
from scenario import OPENING, SHOP, SHOP_FOLDER, Scenario, failing, script, users
from steps import step, wait

sys.path.append(str(SHOP_FOLDER))  # for the table of faults

from faults import TABLE

RESULTS = cluster.CACHE / "soak-results.jsonl"
HEALTHY_SECONDS = 1800
# Faults that users feel, with the bounds of the outage tier; the rest of the table needs an SLO of its own to fire.
OUTAGES = ("errors", "hang", "redis-down", "scale-zero", "bad-rollout", "net-reset", "pool")
SCENARIOS = ("healthy", *OUTAGES, *(fault.name for fault in TABLE.values() if fault.shows and fault.name not in OUTAGES))
SHOWN_SECONDS = 2400  # the slowest check, a leak, needs 20 min of data


def commit() -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()


def held(name: str, now: str) -> int:
    """How often a scenario held at this commit. What is not committed is not the same twice."""
    if not RESULTS.exists() or now.endswith("-dirty"):
        return 0
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return sum(row["name"] == name and row["commit"] == now and row["ok"] for row in rows)


def append(name: str, now: str, result: dict[str, Any]) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps({"name": name, "commit": now, "date": time.strftime("%FT%TZ", time.gmtime()), **result}) + "\n")


def healthy(kube: Cluster, seconds: float) -> dict[str, Any]:
    """Load and a decoy rollout every ten minutes: nothing may fire."""
    start = time.time()
    while time.time() - start < seconds:
        with Scenario(kube, "decoy-rollout"):
            time.sleep(min(600, seconds))
    events = [e["reason"] for e in kube.events(start)]
    seen = users(kube, start)
    ok = not events and ready(kube) and bool(kube.leader())
    return {"ok": ok, "events": events, "sent": seen["sent"], "failed": seen["failed"]}


def outage(kube: Cluster, fault: str) -> dict[str, Any]:
    shows = TABLE[fault].shows
    before = failing(kube)
    with Scenario(kube, fault) as scenario:
        try:
            scenario.wait_opened(180)
            scenario.wait_shown(shows, 180)
            time.sleep(60)  # the later, better cause
            scenario.read_diagnosis()
            scenario.undo()
            scenario.wait_recovered(720)
            time.sleep(120)  # for a second recovery, or an incident that opens again
            scenario.collect()
        except TimeoutError as error:
            scenario.collect()
            return {"ok": False, "error": str(error), **scenario.outcome.as_json()}
    out = scenario.outcome
    accepted = {out.truth["application"]["name"], *out.truth["accept"]}
    ok = (out.opened_after or 1e9) <= 75 + 60 and (out.recovered_after or 1e9) <= 360
    ok &= out.count(*OPENING) == 1 and out.count("SLORecovered") == 1 and out.cause in accepted and out.cause in out.message
    ok &= not before.intersection(shows)
    return {"ok": ok, **out.as_json()}


def shown(kube: Cluster, fault: str) -> dict[str, Any]:
    """The fault fails its checks, sooner or later, and they did not fail before."""
    shows = TABLE[fault].shows
    before = failing(kube)
    with Scenario(kube, fault) as scenario:
        try:
            scenario.wait_shown(shows, SHOWN_SECONDS)
        except TimeoutError as error:
            scenario.collect()
            return {"ok": False, "error": str(error), **scenario.outcome.as_json()}
    scenario.collect()
    return {"ok": not before.intersection(shows), **scenario.outcome.as_json()}


def ready(kube: Cluster) -> bool:
    health = kube.health(SHOP)
    return len(health) >= 8 and not {"Violated", "Unknown"} & set(health.values()) and kube.slo_states(SHOP) == {"Met"}


def run(kube: Cluster, name: str) -> dict[str, Any]:
    if name == "healthy":
        return healthy(kube, HEALTHY_SECONDS)
    return outage(kube, name) if name in OUTAGES else shown(kube, name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="how often each scenario is wanted for a commit (default 3)")
    parser.add_argument("--kubeconfig", type=Path, help="default: the local cluster, started if need be")
    parser.add_argument("--only", nargs="*", help="names of scenarios: healthy, or faults")
    arguments = parser.parse_args()
    now, failed = commit(), []
    with step("cluster, images, chart, shop"):
        kube = Cluster(arguments.kubeconfig or cluster.up())
        images.build([])
        kube.install()
        script(kube, "deploy.py", "up")
    for _ in range(arguments.times):
        for name in arguments.only or SCENARIOS:
            if held(name, now) >= arguments.times:
                continue
            with step(name):
                # A restart or an OOM kill stays a Warning for an hour, and is no reason to wait.
                wait("every application judged, and none violated", lambda: ready(kube), 1200, 5)
                result = run(kube, name)
                append(name, now, result)
                print(json.dumps(result), flush=True)
                if not result["ok"]:
                    failed.append(name)
    print(f"{len(failed)} scenarios failed: {', '.join(failed)}" if failed else "all scenarios held", "-", RESULTS)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
