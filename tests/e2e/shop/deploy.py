#!/usr/bin/env python3
"""The demo shop on a cluster: deploy it, wait until users are served, remove it.

    deploy.py up [--image-prefix REGISTRY/shop-] [--cpu-share F] [--timeout S] | wait | down

The cluster is $KUBECONFIG, else the local one of `make cluster`; its images come from `make images`. The namespace is
$SHOP_NAMESPACE, else `shop`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import sys
import time
from pathlib import Path

import kubectl
import onnode
import users
from rollout import pending

MANIFESTS = Path(__file__).with_name("manifests")
IMAGES = Path(__file__).with_name("images")
SOURCES = "shop.appstatus.dev/image-sources"
LOCAL_PREFIX = "localhost/shop-"
# Nothing in the shop asks for a privilege; even the restricted level lets it in.
SECURITY = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
KINDS = "deployments,statefulsets,daemonsets"
POLL_SECONDS = 2.0


class NotReady(Exception):
    """The shop did not come up in time; the message says what is missing and where to look."""


def manifests(image_prefix: str = LOCAL_PREFIX, cpu_share: float = 1.0) -> str:
    """All objects of the shop as one YAML text, the namespace first; the others are in it because kubectl is told so.

    `cpu_share`: of the CPU that they request. In all it is more than half of two cores.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kubectl.NAMESPACE, "labels": SECURITY}}
    # A text that begins with a brace would be read as JSON to its end.
    texts = ["", json.dumps(namespace), *(path.read_text() for path in sorted(MANIFESTS.glob("*.yaml")))]
    text = "\n---\n".join(texts).replace(LOCAL_PREFIX, image_prefix)
    return re.sub(r"(requests: \{cpu: )(\d+)m", lambda found: f"{found[1]}{max(1, round(int(found[2]) * cpu_share))}m", text)


def wait(timeout: float) -> float:
    """Wait until every workload is rolled out and users are served; seconds it took. NotReady after `timeout` seconds."""
    started, told = time.monotonic(), ""
    while True:
        workloads = kubectl.items(KINDS)
        lacking = pending(workloads) if workloads else {"everything": "not deployed"}
        waited = time.monotonic() - started
        if not lacking:
            if served():
                return waited
            lacking = {"load": "no good answers yet"}
        if waited > timeout:
            text = ", ".join(f"{name} {what}" for name, what in lacking.items())
            first = next(iter(lacking))
            raise NotReady(
                f"not up after {timeout:g} s: {text}\nlook at: kubectl -n {kubectl.NAMESPACE} get pods; "
                f"kubectl -n {kubectl.NAMESPACE} describe pods -l app={first}; kubectl -n {kubectl.NAMESPACE} logs -l app={first}"
            )
        text = ", ".join(f"{name} {what}" for name, what in list(lacking.items())[:2])
        text += f" and {len(lacking) - 2} more" if len(lacking) > 2 else ""
        if text != told:
            print(f"{waited:5.0f} s  waiting for {text}", flush=True)
            told = text
        time.sleep(POLL_SECONDS)


def served() -> bool:
    """Whether the last three seconds that the users have recorded were good ones, and recent."""
    with contextlib.suppress(kubectl.KubectlError):
        records = users.read(3)
        return len(records) == 3 and all(r["failed"] == 0 for r in records) and records[-1]["t"] > time.time() - 30
    return False


def sources() -> str:
    """A hash of what the images are built from: their tag never changes."""
    total = hashlib.sha256()
    for path in sorted(path for path in IMAGES.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        total.update(f"{path.relative_to(IMAGES)}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def up(image_prefix: str, cpu_share: float, timeout: float) -> None:
    objects = manifests(image_prefix, cpu_share)
    if "deletionTimestamp" in (kubectl.get("namespace", kubectl.NAMESPACE) or {"metadata": {}})["metadata"]:
        print("the shop of before is still being removed", flush=True)
        kubectl.run("wait", "--for=delete", f"namespace/{kubectl.NAMESPACE}", "--timeout=300s", timeout=310)
    kubectl.run("apply", "--server-side", "--field-manager=shop", "--force-conflicts", "-f", "-", stdin=objects)
    namespace = json.loads(kubectl.run("get", "namespace", kubectl.NAMESPACE, "-o", "json"))
    running = namespace["metadata"].get("annotations", {}).get(SOURCES)
    if running not in (None, sources()):
        print("the images have changed: all workloads restart", flush=True)
        kubectl.run("rollout", "restart", KINDS)
    kubectl.run("annotate", "namespace", kubectl.NAMESPACE, f"{SOURCES}={sources()}", "--overwrite")
    seconds = wait(timeout)
    print(f"the shop is open after {seconds:.0f} s: {len(kubectl.items('pods'))} pods in namespace {kubectl.NAMESPACE}")


def down() -> None:
    onnode.remove_helper()  # what a fault that was not undone may have left
    kubectl.run("delete", "deployment", "load", "--ignore-not-found", "--wait")  # users leave before the shop closes
    kubectl.run("delete", "namespace", kubectl.NAMESPACE, "--ignore-not-found", "--wait", timeout=300)
    print("the shop is gone")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("up", "wait", "down"))
    parser.add_argument("--image-prefix", default=LOCAL_PREFIX, help="where the images are (default %(default)s)")
    parser.add_argument("--cpu-share", type=float, default=1.0, help="of the CPU it requests: for a second shop on a small node")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds until the shop must be up (default 300)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "up":
            up(arguments.image_prefix, arguments.cpu_share, arguments.timeout)
        elif arguments.command == "wait":
            print(f"the shop is open; waited {wait(arguments.timeout):.0f} s")
        else:
            down()
    except (kubectl.KubectlError, NotReady) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
