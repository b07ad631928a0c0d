"""The demo shop serves its users, every fault changes what they see, and every undo brings back what was.

A shop of its own, so that the product's story goes on beside it. A few faults by default; all of them with ALL_FAULTS=1 in the
environment (about 12 minutes; some of them strike the whole node).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import images
from scenario import SHOP_FOLDER, SHOP_UNDER_TEST, environment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

sys.path.append(str(SHOP_FOLDER))  # for the table of faults

from faults import TABLE  # noqa: E402

# One of each means; errors, slowness and the decoy are in test_product.py.
QUICK = ("db-lock", "cpu-limit", "redis-down", "slow-disk", "thin-link", "bad-rollout")
FAULTS = list(TABLE) if os.environ.get("ALL_FAULTS") else QUICK
# The shop of the product's story is beside it, and a node may have two cores; cpu-noise lives on what it requests.
CPU_SHARE = "1" if os.environ.get("ALL_FAULTS") else "0.2"
RATE = 20  # requests/s, manifests/load.yaml
VISIBLE_SECONDS = 60
HEALED_SECONDS = 90


@dataclass
class Shop:
    kubeconfig: Path
    truth: Path

    def script(self, name: str, *arguments: str, status: int = 0) -> str:
        """Run one of the shop's commands; what it printed, its complaints included."""
        own = environment(self.kubeconfig, SHOP_UNDER_TEST) | {"SHOP_TRUTH": str(self.truth)}
        done = subprocess.run(
            [sys.executable, str(SHOP_FOLDER / name), *arguments], env=own, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == status, f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def seen(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.script("users.py", "-o", "json", *arguments))

    def last_truth(self) -> dict[str, Any]:
        return json.loads(self.script("fault.py", "truth").splitlines()[-1])

    def healthy(self) -> bool:
        seen = self.seen("--seconds", "5")
        return seen["sent"] and not seen["failed"] and seen["slow"].get("0.5", 0) == 0


@pytest.fixture(scope="module")
def shop(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if not os.environ.get("KUBECONFIG"):
        images.build(["shop"])
    shop = Shop(kubeconfig, tmp_path_factory.mktemp("shop") / "truth.jsonl")
    try:
        shop.script("deploy.py", "up", "--cpu-share", CPU_SHARE)
        yield shop
    finally:
        shop.script("deploy.py", "down")


@pytest.fixture
def whole(shop: Shop) -> Iterator[Shop]:
    """The shop without any fault, before the test and after it."""
    shop.script("fault.py", "undo", "all")
    until("the shop is healthy", shop.healthy, HEALED_SECONDS)
    yield shop
    shop.script("fault.py", "undo", "all")


def until(what: str, condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(1)


def as_designed(kubectl) -> dict[str, Any]:
    """The specification of every workload, and what each of their containers was really given, once it has started."""

    def get(what: str) -> list[dict]:
        return json.loads(kubectl("get", what, "-n", SHOP_UNDER_TEST, "-o", "json").stdout)["items"]

    specs = {f"{o['kind']}/{o['metadata']['name']}": o["spec"] for o in get("deployments,statefulsets,daemonsets,cronjobs")}
    containers = {
        (pod["metadata"]["labels"]["app"], json.dumps(container.get("resources"), sort_keys=True))
        for pod in get("pods")
        if "app" in pod["metadata"]["labels"] and "deletionTimestamp" not in pod["metadata"]
        for container in pod["status"].get("containerStatuses", [])
        if "waiting" not in container["state"]  # that of the next job says nothing of its resources yet
    }
    return {"specs": specs, "containers": containers}


def test_users_are_served(whole: Shop):
    since = time.time()
    time.sleep(30 + 3)
    seen = whole.seen("--since", str(since))
    assert seen["seconds"] >= 29
    assert abs(seen["sent"] - RATE * seen["seconds"]) <= 1, "an open loop at a constant rate"
    assert seen["ok"] >= 0.999 * seen["sent"], seen
    assert set(seen["routes"]) == {"/", "/product", "/cart", "/recommend", "/checkout"}


def visible(shop: Shop, record: dict[str, Any]) -> bool:
    seen = shop.seen("--since", str(record["onset"]))
    return {
        "failures": seen["failed"] >= 5,
        "slow": seen["slow"].get("0.25", 0) >= 10,
        "more": seen["sent"] >= 3 * RATE * max(seen["seconds"], 1),
        "nothing": seen["seconds"] >= 15 and seen["failed"] == 0,
    }[record["users_see"]]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen_and_undone(name: str, whole: Shop, kubectl):
    before = as_designed(kubectl)
    whole.script("fault.py", "inject", name)
    record = whole.last_truth()
    assert record["fault"] == name
    assert record["requested"] <= record["onset"] <= time.time()
    until(f"users see {record['users_see']}", lambda: visible(whole, record), VISIBLE_SECONDS)

    whole.script("fault.py", "undo", name)
    assert whole.last_truth()["undone"] > record["onset"]
    until("users see nothing of it any more", whole.healthy, HEALED_SECONDS)
    assert as_designed(kubectl) == before


@pytest.mark.skipif("memory-leak" not in FAULTS, reason="only with ALL_FAULTS=1")
def test_a_leak_ends_in_an_oom_kill(whole: Shop, kubectl):
    whole.script("fault.py", "inject", "memory-leak")

    def killed() -> bool:
        found = json.loads(kubectl("get", "pods", "-n", SHOP_UNDER_TEST, "-l", "app=recommendation", "-o", "json").stdout)
        statuses = [status for pod in found["items"] for status in pod["status"]["containerStatuses"]]
        states = [status[key].get("terminated", {}) for status in statuses for key in ("state", "lastState")]
        return any(state.get("reason") == "OOMKilled" for state in states)

    until("recommendation is killed for want of memory", killed, VISIBLE_SECONDS)


def test_a_share_is_what_users_see(whole: Shop):
    whole.script("fault.py", "inject", "errors", "--service", "payment", "--share", "0.5")
    onset = whole.last_truth()["onset"]

    def checkouts() -> dict[str, int]:
        return whole.seen("--since", str(onset + 1))["routes"].get("/checkout", {})

    until("100 checkouts", lambda: checkouts().get("sent", 0) >= 100, VISIBLE_SECONDS)
    counts = checkouts()
    assert counts["failed"] / counts["sent"] == pytest.approx(0.5, abs=0.15)


def test_commands_that_make_no_sense_are_refused(whole: Shop):
    assert "is not in the shop" in whole.script("fault.py", "undo", "errors", status=2)
    assert "none of the shop's Python parts" in whole.script("fault.py", "inject", "errors", "--service", "redis", status=1)
    assert "no workload named" in whole.script("fault.py", "inject", "errors", "--service", "nobody", status=1)
    assert "not a share" in whole.script("fault.py", "inject", "errors", "--share", "14", status=1)
    whole.script("fault.py", "inject", "slow", "--share", "0.01")
    assert "already" in whole.script("fault.py", "inject", "slow", status=2)


def test_two_faults_in_one_service_go_one_by_one(whole: Shop):
    whole.script("fault.py", "inject", "slow", "--share", "1")
    whole.script("fault.py", "inject", "errors", "--share", "1")
    whole.script("fault.py", "undo", "errors")
    undone = whole.last_truth()["undone"]
    until("slow answers", lambda: whole.seen("--since", str(undone))["slow"].get("0.25", 0) >= 10, VISIBLE_SECONDS)
    assert not whole.seen("--since", str(undone + 1))["failed"]
