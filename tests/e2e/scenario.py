"""One fault in the demo shop from its injection to the recovery Event: what appstatus said, beside the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from product import Cluster, posted
from steps import wait

SHOP = "shop"
SHOP_UNDER_TEST = "shop-under-test"  # of the shop's own tests, which run beside
SHOP_FOLDER = Path(__file__).with_name("shop")
OPENING = ("SLOFastBurn", "SLOSlowBurn")


@dataclass
class Outcome:
    """Seconds count from the first failed or slow request of a user (`onset`), recovery from the undoing.

    events  (reason, type, application) of every Event posted since the injection, in order
    shown   "application:Check" -> seconds from the injection until the check was seen failing
    cause, cause_class, share, path: the best cause of the opener's diagnosis, as its AppStatus carries it at the end
    """

    fault: str
    truth: dict[str, Any]
    opened_after: float | None = None
    recovered_after: float | None = None
    opener: str = ""
    message: str = ""
    cause: str = ""
    cause_class: str = ""
    share: float = 0.0
    path: list[str] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    shown: dict[str, float] = field(default_factory=dict)

    def count(self, *reasons: str) -> int:
        return sum(reason in reasons for reason, _, _ in self.events)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def environment(kubeconfig: Path, namespace: str = SHOP) -> dict[str, str]:
    """In which the shop's commands act on that cluster's shop, whatever the caller's own environment says."""
    return os.environ | {"KUBECONFIG": str(kubeconfig), "SHOP_NAMESPACE": namespace}


def script(kube: Cluster, name: str, *arguments: str) -> str:
    """Runs a script of the shop against the cluster; what it printed."""
    done = subprocess.run(
        [sys.executable, str(SHOP_FOLDER / name), *arguments],
        env=environment(kube.kubeconfig),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(arguments)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def users(kube: Cluster, since: float) -> dict[str, Any]:
    """What the shop's users saw since then, by their own record."""
    seen: dict[str, Any] = json.loads(script(kube, "users.py", "--since", str(since), "-o", "json"))
    return seen


def last_truth(kube: Cluster) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(script(kube, "fault.py", "truth").splitlines()[-1])
    return record


def failing(kube: Cluster) -> set[str]:
    """Every inspection of the shop that fails now, as "application:Check"."""
    return {
        f"{status['application']['name']}:{entry['id']}"
        for status in kube.statuses(SHOP).values()
        for entry in status.get("inspections", {}).get("failing", ())
    }


def in_shop(application: dict[str, Any]) -> str:
    """Its name; with the namespace in front if that is not the shop's."""
    namespace = application.get("namespace", "")
    return str(application["name"] if namespace == SHOP else f"{namespace}/{application['name']}")


class Scenario:
    """`with Scenario(kube, "errors", "--share", "1") as s:` injects; leaving the block undoes what was not undone."""

    def __init__(self, kube: Cluster, fault: str, *parameters: str) -> None:
        self.kube, self.fault, self.parameters = kube, fault, parameters
        self.undone: float | None = None

    def __enter__(self) -> Scenario:
        self.started = time.time()
        script(self.kube, "fault.py", "inject", self.fault, *self.parameters)
        self.outcome = Outcome(self.fault, last_truth(self.kube))
        return self

    def __exit__(self, *_: object) -> None:
        if self.undone is None:
            self.undo()

    def undo(self) -> None:
        script(self.kube, "fault.py", "undo", self.fault, "--service", self.outcome.truth["target"])
        self.undone = time.time()

    def wait_opened(self, bound: float, opener: str = "") -> Outcome:
        """Waits up to `bound` seconds for the Warning Event, on the workload `opener` if that is given. Raises TimeoutError."""

        def opening() -> dict[str, Any] | None:
            found = [e for e in self.kube.events(self.started) if e["reason"] in OPENING]
            return next((e for e in found if opener in ("", e["involvedObject"]["name"])), None)

        event = wait(f"an opening Event for {self.fault}", opening, bound)
        out = self.outcome
        out.opened_after = posted(event) - self.onset()
        out.opener = f"{event['involvedObject']['name']}.{event['involvedObject']['kind'].lower()}"
        out.message = event["message"]
        self.read_diagnosis()
        return out

    def wait_shown(self, checks: Iterable[str], bound: float) -> Outcome:
        """Waits up to `bound` seconds until each of `checks` ("application:Check") was seen failing. Raises TimeoutError."""
        shown, wanted = self.outcome.shown, set(checks)

        def all_seen() -> bool:
            for each in (failing(self.kube) & wanted) - shown.keys():
                shown[each] = round(time.time() - self.started, 1)
            return wanted <= shown.keys()

        wait(f"checks of {self.fault}", all_seen, bound, 3, say=lambda: f"seen failing: {', '.join(sorted(shown)) or 'none yet'}")
        return self.outcome

    def onset(self) -> float:
        """The users' first failed request since the injection; the fault's own time when it makes answers slow, not fail."""
        first = users(self.kube, self.started)["first_failure"] if self.outcome.truth["users_see"] == "failures" else None
        return float(first or self.outcome.truth["onset"])

    def read_diagnosis(self) -> None:
        out = self.outcome
        status = self.kube.get("appstatus", out.opener, "-n", SHOP).get("status", {})
        causes = status.get("incident", {}).get("diagnosis", {}).get("causes") or []
        if causes:
            best = causes[0]
            out.cause, out.cause_class = in_shop(best["application"]), best["class"]
            out.share, out.path = float(best["share"]), [in_shop(step) for step in best.get("path", [])]

    def wait_recovered(self, bound: float) -> Outcome:
        """Waits up to `bound` seconds from the undoing for SLORecovered. Raises TimeoutError."""
        assert self.undone is not None
        undone = self.undone
        event = wait(
            f"the recovery Event of {self.fault}",
            lambda: next((e for e in self.kube.events(undone) if e["reason"] == "SLORecovered"), None),
            bound,
        )
        self.outcome.recovered_after = posted(event) - undone
        self.collect()
        return self.outcome

    def collect(self) -> list[tuple[str, str, str]]:
        """All Events since the injection."""
        self.outcome.events = [(e["reason"], e["type"], e["involvedObject"]["name"]) for e in self.kube.events(self.started)]
        return self.outcome.events
