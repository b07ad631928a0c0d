"""The examples of docs/api.md are applied as they stand, and the operator accepts them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from appstatus.api.override import parse_override
from appstatus.api.project import parse_project
from appstatus.api.slo import parse_slo
from crd_rules import CRDS

PAGE = (CRDS.parent / "docs" / "api.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
PARSERS: dict[str, Any] = {"Project": parse_project, "SLO": parse_slo, "InspectionOverride": parse_override}


def test_every_kind_that_users_write_has_an_example() -> None:
    assert {example["kind"] for example in EXAMPLES} == set(PARSERS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['kind']}-{e['metadata']['name']}")
def test_an_example_is_admitted_and_understood(api_server: Any, example: dict[str, Any]) -> None:
    api_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=appstatus", "--timeout=60s")
    api_server.kubectl("create", "namespace", "shop", check=False)
    done = api_server.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(example))
    assert "created" in done.stdout
    assert PARSERS[example["kind"]](example).problems == ()
