"""Checks a document against the schema of a CRD as the API server would: unknown fields are errors too (server-side apply)."""

import re
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).parents[3] / "crds"
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def status_schema(plural: str) -> dict[str, Any]:
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]


def problems(value: Any, schema: dict[str, Any], path: str = "status") -> list[str]:
    kind = schema["type"]
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{path} is {type(value).__name__}, not {kind}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is {value!r}")
    if kind == "string":
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 20):
            found.append(f"{path} has {len(value)} characters")
        if schema.get("format") == "date-time" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value):
            found.append(f"{path} is no time: {value}")
    if kind in ("integer", "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{path} is {value}")
    if kind == "array":
        if len(value) > schema.get("maxItems", 1 << 20):
            found.append(f"{path} has {len(value)} items")
        keys = schema.get("x-kubernetes-list-map-keys")
        if keys and len({tuple(each[key] for key in keys) for each in value}) < len(value):
            found.append(f"{path} has an item twice")
        if schema.get("x-kubernetes-list-type") == "set" and len(set(value)) < len(value):
            found.append(f"{path} has an item twice")
        for number, each in enumerate(value):
            found += problems(each, schema["items"], f"{path}[{number}]")
    if kind == "object" and "properties" in schema:
        found += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, each in value.items():
            if name not in schema["properties"]:
                found.append(f"{path}.{name} is not in the schema")
            else:
                found += problems(each, schema["properties"][name], f"{path}.{name}")
    return found
