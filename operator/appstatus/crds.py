"""Applies the CustomResourceDefinitions: Helm never upgrades the ones in a chart's crds/ folder, so a hook of the chart does."""

import logging
import time
from pathlib import Path
from typing import Any

import yaml

from appstatus.kube import APPLY, ApiError, Kube, Unreachable, path

log = logging.getLogger(__name__)

WAIT = 60.0


def apply_crds(kube: Kube, directory: Path, wait: float = WAIT) -> int:
    """Exit status: 0 when all are served; 1 when one was refused or is not served in time; 2 without files."""
    files = sorted(directory.glob("*.yaml"))
    if not files:
        log.error("There are no *.yaml files in %s", directory)
        return 2
    deadline = time.monotonic() + wait
    for file in files:
        for body in yaml.safe_load_all(file.read_text()):
            if body and not _apply(kube, body, deadline):
                return 1
    return 0


def _apply(kube: Kube, body: dict[str, Any], deadline: float) -> bool:
    name = body["metadata"]["name"]
    where = path("apiextensions.k8s.io/v1", "customresourcedefinitions", name=name)
    sent = False
    while True:
        try:
            if not sent:
                query = {"fieldManager": "appstatus-crds", "force": "true"}
                kube.request("PATCH", where, query=query, body=body, content_type=APPLY)
                sent = True
            status = kube.request("GET", where).get("status") or {}
            if any(c["type"] == "Established" and c["status"] == "True" for c in status.get("conditions") or ()):
                log.info("%s is served", name)
                return True
            reason: object = "it is not established yet"
        except ApiError as error:
            if not error.passing:
                log.error("%s was refused: %s", name, error)
                return False
            reason = error
        except Unreachable as error:
            reason = error
        if time.monotonic() > deadline:
            log.error("%s could not be applied in time: %s", name, reason)
            return False
        time.sleep(0.5)
