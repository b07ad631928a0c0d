import importlib.util
from pathlib import Path

import yaml
from appstatus.inspections.table import CHECKS

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "checks"


def test_every_check_has_the_page_that_the_table_makes() -> None:
    spec = importlib.util.spec_from_file_location("generate", PAGES / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    written = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    assert written == generate.pages(), "run docs/checks/generate.py"
    assert all((ROOT / check.page).is_file() for check in CHECKS)


def test_the_crds_know_the_same_checks() -> None:
    """SLO checks are changed by an SLO, all others by a Project or an InspectionOverride."""
    wanted = {check.id for check in CHECKS if check.kind != "slo"}
    found = []
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for version in document["spec"]["versions"]:
                inspections = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] if _has_spec(version) else {}
                for enum in _enums(inspections):
                    if "CPUContainer" in enum:
                        found.append(path.name)
                        assert set(enum) == wanted, path.name
    assert len(found) >= 2


def _has_spec(version: dict) -> bool:  # type: ignore[type-arg]
    return "spec" in version["schema"]["openAPIV3Schema"]["properties"]


def _enums(node: object) -> list[list[str]]:
    if isinstance(node, dict):
        own = [node["enum"]] if isinstance(node.get("enum"), list) else []
        return own + [e for child in node.values() for e in _enums(child)]
    if isinstance(node, list):
        return [e for child in node for e in _enums(child)]
    return []
