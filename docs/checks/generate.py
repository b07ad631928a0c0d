"""Writes one page per check, and the list of all, from the table of checks. Run it after changing the table; a test compares."""

from pathlib import Path

from appstatus.inspections.table import AREAS, CHECKS, Check
from appstatus.model.queries import BY_ID as QUERIES

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/checks/generate.py from operator/appstatus/inspections/table.py. -->\n"
KINDS = {
    "gauge": "Every known sample of the last {time} is {side} the threshold; at least half of the samples must be known.",
    "count": "What was counted within the last {time} is {side} the threshold.",
    "state": "What the API server says has been {side} the threshold for {time}.",
    "trend": "The trend of the last {time} is {side} the threshold, and its last quarter still has at least 30 % of its slope.",
    "slo": "As the evaluation of the objectives says (docs/slo.md).",
}


def seconds(value: float) -> str:
    if value >= 3600:
        return f"{value / 3600:g} h"
    return f"{value / 60:g} min" if value >= 60 else f"{value:g} s"


def fails(check: Check) -> str:
    if check.kind == "state" and not check.sustained_for:
        return "What the API server says is above the threshold."
    return KINDS[check.kind].format(time=seconds(check.sustained_for), side=check.direction)


def another(check: Check) -> str:
    """Some milder threshold, for the example."""
    return f"{check.threshold / 2:g}" if check.direction == "below" else f"{check.threshold * 2 or 1:g}"


def page(check: Check) -> str:
    lines = [
        NOTE,
        f"# {check.id}: {check.title}\n",
        check.description + "\n",
        "| | |",
        "|---|---|",
        f"| area | `{check.area}` (condition `{AREAS[check.area]}`) |",
        f"| default threshold | {check.threshold:g} {check.unit} |",
        f"| fails when | the value is {check.direction} the threshold |",
        f"| for how long | {fails(check)} |",
    ]
    if check.needs:
        exprs = ", ".join(f"`{query}`" for query in check.needs)
        lines.append(f"| read from | {exprs} |")
    lines += ["\n## What to do\n", check.todo + "\n"]
    if check.needs:
        lines += ["## Where the value comes from\n", "```promql"]
        lines += [QUERIES[query].short or QUERIES[query].expr for query in check.needs]
        lines += [
            "```\n",
            *(["`<protocol>`: the union over all whose requests have answers "
               "(`PROTOCOLS` in `operator/appstatus/model/queries.py`).\n"] if any(QUERIES[query].short for query in check.needs) else []),
            "`$RANGE` is two steps. Without an answer to these queries, or without a fresh sample of any agent, the check is "
            "`unknown`; where there is nothing to judge it is skipped.\n",
        ]
    if check.kind == "slo":
        lines += ["## Another objective\n", "Write an `SLO` next to the workload; the Project has the defaults (docs/slo.md)."]
    else:
        lines += [
            "## Another threshold, or none\n",
            "```yaml",
            "apiVersion: appstatus.dev/v1alpha1",
            "kind: InspectionOverride",
            "metadata: {name: why-it-is-different, namespace: shop}",
            "spec:",
            "  targetRef: {kind: Deployment, name: checkout}",
            f'  inspections: [{{id: {check.id}, threshold: "{another(check)}"}}]   # or disabled: true',
            "  reason: say why",
            "```",
        ]
    return "\n".join(lines) + "\n"


def index() -> str:
    lines = [
        NOTE,
        "# Checks\n",
        "Every application is inspected by these checks in every cycle. A failing check alone makes it `Warning`, never an Event.",
        "Every threshold can be changed: for all by the Project, for some applications by an InspectionOverride.\n",
        "| area | check | what is measured | fails | for |",
        "|---|---|---|---|---|",
    ]
    for area in AREAS:
        for check in (c for c in CHECKS if c.area == area):
            sign = ">" if check.direction == "above" else "<"
            time = seconds(check.sustained_for) if check.sustained_for else "-"
            lines.append(
                f"| {area} | [{check.id}]({check.id}.md) | {check.title} | {sign} {check.threshold:g} {check.unit} | {time} |"
            )
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    return {"README.md": index(), **{f"{check.id}.md": page(check) for check in CHECKS}}


def main() -> None:
    wanted = pages()
    for old in HERE.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (HERE / name).write_text(text)
    print(f"{len(wanted)} pages written to {HERE}")


if __name__ == "__main__":
    main()
