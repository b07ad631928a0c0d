"""`make demo` and `make demo-down`: the whole product on this machine, a fault, its Event, the recovery.

Every step may be repeated: running the demo twice works, and whatever it was interrupted in, `make demo-down` removes.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time

from cluster import binaries, cluster, images
from product import LOG_HINT, Cluster, posted
from scenario import SHOP, SHOP_FOLDER, environment
from steps import StepError, fail, step, wait

# All requests to this service fail: three calls away from the user, below a service that only passes the failure on.
FAULT = "errors"
CLUSTER_LOGS = cluster.SETTINGS.run / "logs"


def up() -> int:
    started = time.monotonic()
    with step("Binaries of the cluster (compiled once, then kept in the cache)", "the compiler's output above"):
        binaries.ensure(*binaries.BINARIES)
    with step("Kubernetes node on this machine", str(CLUSTER_LOGS)):
        kube = Cluster(cluster.up())
    with step("Images, built from the project's Dockerfiles", "buildah's output above"):
        images.build([])
    with step("appstatus, installed with its Helm chart", LOG_HINT):
        kube.install()
    # Both start at the same time: neither needs the other.
    with step("The demo shop and its load", f"kubectl -n {SHOP} get pods; kubectl -n {SHOP} describe pods"):
        shop("deploy.py", "up", kube=kube)
    with step("Operator and node agent", LOG_HINT):
        kube.kubectl("-n", "appstatus", "rollout", "status", "deployment/appstatus-operator", "--timeout=180s")
        wait("the agent runs on the node", lambda: agents_ready(kube), 180, say=lambda: project_line(kube))
    with step("Waiting until every application of the shop is Healthy (judged from 2 min after its start)", LOG_HINT):
        wait("every application judged and Healthy", lambda: all_healthy(kube), 600, 5, say=lambda: health_line(kube))
        print(kube.kubectl("get", "appstatus", "-n", SHOP))

    with step(f"Breaking a service: from now on all requests to ledger fail (fault `{FAULT}`)", LOG_HINT):
        broken = time.time()
        shop("fault.py", "inject", FAULT, kube=kube)
        warning = wait("the Event", lambda: first(kube, "Warning", broken), 300, say=lambda: health_line(kube))
        print(f"    Event {posted(warning) - broken:.0f} s after the fault was switched on\n")
        show(kube, warning)
        print(kube.kubectl("get", "appstatus", "-n", SHOP))
    with step("Healing it; the incident is over after five good minutes", LOG_HINT):
        shop("fault.py", "undo", FAULT, kube=kube)
        healed = time.time()
        recovery = wait(
            "five good minutes, then the recovery Event",
            lambda: first(kube, "Normal", healed, "SLORecovered"),
            720,
            5,
            say=lambda: health_line(kube),
        )
        print(f"    Event {posted(recovery) - healed:.0f} s after the fault was switched off\n")
        show(kube, recovery)
        print(kube.kubectl("get", "appstatus", "-n", SHOP))

    kubectl = f"{binaries.path('kubectl')} --kubeconfig {kube.kubeconfig}"
    print(
        f"\nThe demo took {(time.monotonic() - started) / 60:.1f} min. Look around:\n"
        f"    alias kubectl='{kubectl}'\n"
        f"    kubectl get appstatus,slo -A\n"
        f"    kubectl describe projects.appstatus.dev default\n"
        f"    kubectl get appstatus checkout.deployment -n {SHOP} -o yaml\n"
        f"    kubectl get events -n {SHOP} --field-selector reportingComponent=appstatus\n"
        f"    kubectl explain slo.spec\n"
        f"    kubectl port-forward -n appstatus svc/appstatus-prometheus 9090 &\n"
        f"    .venv/bin/appstatus explain checkout -n {SHOP} --prometheus http://localhost:9090 --kubeconfig {kube.kubeconfig}\n"
        f"More ways to break it, one command to do it and one to undo it:\n"
        f"    export KUBECONFIG={kube.kubeconfig}\n"
        f"    python3 tests/e2e/shop/fault.py list\n"
        f"    python3 tests/e2e/shop/fault.py inject redis-down\n"
        f"    python3 tests/e2e/shop/fault.py undo redis-down\n"
        f"Remove everything:\n    make demo-down"
    )
    return 0


def shop(script: str, *arguments: str, kube: Cluster) -> None:
    command = [sys.executable, str(SHOP_FOLDER / script), *arguments]
    done = subprocess.run(command, env=environment(kube.kubeconfig))
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")


def agents_ready(kube: Cluster) -> bool:
    conditions = kube.get("projects.appstatus.dev", "default").get("status", {}).get("conditions", [])
    return {c["type"]: c["status"] for c in conditions}.get("AgentsReady") == "True"


def project_line(kube: Cluster) -> str:
    conditions = kube.get("projects.appstatus.dev", "default").get("status", {}).get("conditions", [])
    return ", ".join(f"{c['type']}={c['status']} ({c['reason']})" for c in conditions) or "no condition yet"


def all_healthy(kube: Cluster) -> bool:
    """Every application is Healthy, and what users call first is judged: that begins 2 min after an application's start."""
    health = kube.health(SHOP)
    front = kube.get("appstatus", "frontend.deployment", "-n", SHOP).get("status", {})
    return len(health) >= 8 and set(health.values()) == {"Healthy"} and {"Met"} == {slo["state"] for slo in front.get("slos", [])}


def health_line(kube: Cluster) -> str:
    statuses = kube.statuses(SHOP)
    rest = [
        f"{name} {status.get('health', 'not judged yet')}" + (f" ({status['cause']})" if status.get("cause") else "")
        for name, status in sorted(statuses.items())
        if status.get("health") != "Healthy"
    ]
    return f"{len(statuses) - len(rest)} of {len(statuses)} Healthy" + (": " + ", ".join(rest) if rest else "")


def first(kube: Cluster, kind: str, since: float, reason: str = "") -> dict | None:
    found = [e for e in kube.events(since) if e["type"] == kind and reason in ("", e["reason"])]
    return found[0] if found else None


def show(kube: Cluster, event: dict) -> None:
    """What `kubectl describe` of the workload prints below "Events:"."""
    about = event["involvedObject"]
    text = kube.kubectl("describe", f"{about['kind'].lower()}/{about['name']}", "-n", about["namespace"])
    print(f"$ kubectl describe {about['kind'].lower()} {about['name']} -n {about['namespace']}")
    print("Events:" + text.rpartition("\nEvents:")[2])


def down() -> int:
    with step("Removing the cluster with everything on it", str(CLUSTER_LOGS)):
        cluster.down()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return up() if command == "up" else down()
    except StepError as error:
        return fail(error)
    except KeyboardInterrupt:
        print("\ninterrupted; `make demo` goes on from here, `make demo-down` removes everything", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
