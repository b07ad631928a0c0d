"""Reads the CRDs: every validation rule with the place that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parents[3] / "crds"


@dataclass(frozen=True)
class Rule:
    """``place`` such as ``SLO.spec.indicator#0``: kind, path in the schema, number of the rule there."""

    place: str
    rule: str
    message: str

    def explains(self, error: str) -> bool:
        """Whether an error of the API server carries this rule's message: one of its literal parts that says something."""
        is_expression = self.message.startswith(("'", "("))
        literals = re.findall(r"'([^']*)'", self.message) if is_expression else [self.message]
        return any(len(text) >= 12 and text in error for text in literals)


def crds() -> dict[str, dict[str, Any]]:
    """CRDs by kind."""
    documents = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {document["spec"]["names"]["kind"]: document for document in documents}


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(node: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema with its place; ``[]`` is an item of a list, ``{}`` a value of a map."""
    yield place, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{place}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{place}[]")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{place}{{}}")


def rules() -> dict[str, Rule]:
    """All validation rules by place."""
    found = {}
    for kind, crd in crds().items():
        for place, node in nodes(schema(crd), kind):
            for number, each in enumerate(node.get("x-kubernetes-validations", [])):
                key = f"{place}#{number}"
                found[key] = Rule(key, each["rule"], each.get("messageExpression") or each["message"])
    return found


if __name__ == "__main__":
    for name in rules():
        print(name)
