"""docs/agent.md and the agent tell of the same metrics."""

import re
from pathlib import Path

from appstatus_agent.kernel import rows
from appstatus_agent.metrics import METRICS

DOCS = Path(__file__).parents[3] / "docs" / "agent.md"


def test_every_metric_is_in_the_docs_and_no_other():
    table = DOCS.read_text().split("## Metrics")[1].split("## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = set()
    for name in re.findall(r"`([a-z_<>]+)`", " ".join(first_cells)):
        kinds = [(protocol, rows.noun(protocol)) for protocol in rows.PROTOCOLS[2:]] if "<" in name else [("", "")]
        documented |= {name.replace("<protocol>", protocol).replace("<requests>", noun) for protocol, noun in kinds}
    assert documented - {f"{protocol}_{rows.noun(protocol)}" for protocol in rows.PROTOCOLS} == set(METRICS)


def test_every_protocol_is_in_the_docs():
    text = DOCS.read_text()
    assert all(f"| `{protocol}_{rows.noun(protocol)}` |" in text for protocol in rows.PROTOCOLS[2:])


def test_every_metric_has_a_type_and_help():
    for name, (kind, text) in METRICS.items():
        assert kind in ("gauge", "counter", "histogram") and text, name
        assert (kind == "counter") == (name.endswith("_total") and kind != "histogram"), name
