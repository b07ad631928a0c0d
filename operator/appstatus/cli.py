"""``appstatus``: the judgement without installing anything."""

import argparse
import logging
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import orjson
import yaml

from appstatus import explain
from appstatus.api.names import GROUP, VERSION, AppKey
from appstatus.documents import Cycle, missing
from appstatus.once import FAILED, OK, UNKNOWN, VIOLATED, Fault, add_connection, judged
from appstatus.report import appstatus

EPILOG = """exit status:
  0  every SLO that can be judged is met
  1  an SLO is violated
  2  wrong usage, or Prometheus or the cluster cannot be asked
  3  nothing is violated, but for some applications there is not enough fresh data, or there is nothing to judge at all
"""
SOURCES = (
    "from the node agents' metrics (appstatus-agent or coroot-node-agent) in any Prometheus-compatible store. With a kubeconfig it "
    "also asks the cluster for workloads, SLOs and overrides; without, applications are told by the metrics' own container labels."
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        status: int = arguments.run(arguments)
        return status
    except Fault as error:
        print(f"appstatus: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # `appstatus audit | head`
        sys.stderr.close()
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="appstatus", description="Tells the truth about every application.")
    parser.add_argument("--version", action="version", version=version("appstatus"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, brief: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=brief,
            description=textwrap.fill(f"{description}, {SOURCES}", 79),
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    audit = command("audit", "judge every application once", "Judges every application once")
    add_connection(audit)
    audit.add_argument("-n", "--namespace", metavar="NAME", help="show only this namespace")
    audit.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
    audit.set_defaults(run=_audit)
    one = command("explain", "the whole diagnosis of one application", "Tells what is wrong with one application, and why")
    one.add_argument("name", metavar="NAME", help="such as checkout, checkout.deployment, deployment/checkout, shop/checkout")
    add_connection(one)
    one.add_argument("-n", "--namespace", metavar="NAME", help="the application's namespace (default: wherever there is one)")
    one.add_argument("-o", "--output", choices=("text", "html", "json"), default="text", help="html: one page, needs nothing else")
    one.set_defaults(run=explain.run)
    return parser


def _audit(arguments: argparse.Namespace) -> int:
    found = judged(arguments)
    apps = sorted(app for app in found.policy.apps if arguments.namespace in (None, app.namespace))
    documents = {app: _document(found, app) for app in apps}
    if arguments.output == "table":
        print(_table(documents), end="")
    else:
        items = [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "AppStatus",
                "metadata": {"namespace": app.namespace, "name": app.status_name},
                "status": document,
            }
            for app, document in documents.items()
        ]
        listing = {"apiVersion": "v1", "kind": "List", "items": items}
        if arguments.output == "json":
            print(orjson.dumps(listing, option=orjson.OPT_INDENT_2).decode())
        else:
            print(yaml.safe_dump(listing, sort_keys=False, allow_unicode=True), end="")
    healths = {document["health"] for document in documents.values()}
    return VIOLATED if "Violated" in healths else UNKNOWN if "Unknown" in healths or not documents else OK


def _document(found: Cycle, app: AppKey) -> dict[str, Any]:
    policy, judgement = found.policy.apps[app], found.judgement(app)
    assert judgement is not None
    findings = appstatus.Findings(
        application=judgement.world.applications[app],
        project=policy.project,
        category=policy.category,
        checks=judgement.checks.get(app, ()),
        statuses=found.statuses(app),
        diagnosis=judgement.diagnoses.get(app),
        problems=policy.problems,
        called=policy.called,
        missing=missing(judgement.world),
    )
    return appstatus.appstatus(findings, found.health, judgement.world.step, {}, 1, found.now)


def _table(documents: dict[AppKey, dict[str, Any]]) -> str:
    if not documents:
        return "No application found: Prometheus has no metrics of node agents, or none of this namespace.\n"
    rows = [("NAMESPACE", "NAME", "HEALTH", "SLOS", "BUDGET", "CAUSE")]
    order = ("Violated", "Warning", "Unknown", "Healthy")
    for app, document in sorted(documents.items(), key=lambda item: (order.index(item[1]["health"]), item[0])):
        columns = (document["health"], document["sloSummary"], document["budget"], document["cause"])
        rows.append((app.namespace, app.status_name, *columns))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "".join(
        "   ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip() + "\n" for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
