"""The record of faults: what is wrong with the shop now (kept in the cluster), and what ever was (a file of JSON lines)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import kubectl

Record = dict[str, Any]
CONFIG_MAP = "faults"
DEFAULT_FILE = Path(os.environ.get("SHOP_TRUTH", kubectl.CACHE / "shop-truth.jsonl"))
# What only the way back needs; the truth does without.
_PRIVATE = ("template", "before", "replicas", "limit", "container", "device", "image", "workload", "faults", "value")


def key(name: str, target: str) -> str:
    return f"{name}.{target}"


def active() -> dict[str, Record]:
    """The records of all faults that are in the shop now. In the cluster, so that any checkout can undo them."""
    found = kubectl.get("configmap", CONFIG_MAP)
    return {name: json.loads(text) for name, text in ((found or {}).get("data") or {}).items()}


def remember(record: Record) -> None:
    """Keep the fault as active; before it is applied, so that one that was interrupted half-way can be undone."""
    if kubectl.get("configmap", CONFIG_MAP) is None:
        kubectl.run("create", "configmap", CONFIG_MAP)
    _patch(key(record["fault"], record["target"]), json.dumps(record))


def forget(record: Record) -> None:
    _patch(key(record["fault"], record["target"]), None)


def _patch(name: str, text: str | None) -> None:
    kubectl.run("patch", "configmap", CONFIG_MAP, "--type=merge", "--patch", json.dumps({"data": {name: text}}))


def append(file: Path, record: Record) -> None:
    """Write the record's public part, as it is now. The same id comes twice: when the fault took effect, when it was undone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write(json.dumps({name: value for name, value in record.items() if name not in _PRIVATE}) + "\n")


def read(file: Path) -> list[Record]:
    """One record per fault, in order of injection, each as it was written last."""
    if not file.exists():
        return []
    latest: dict[str, Record] = {}
    for line in file.read_text().splitlines():
        record = json.loads(line)
        latest[record["id"]] = record
    return list(latest.values())
