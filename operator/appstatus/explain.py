"""``appstatus explain NAME``: which application is meant, and where its explanation goes."""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from difflib import get_close_matches

import orjson

from appstatus.api.names import AppKey
from appstatus.documents import Cycle, missing
from appstatus.once import OK, UNKNOWN, VIOLATED, Fault, judged
from appstatus.report import data, page, terminal
from appstatus.report.explanation import Explanation, Findings, explain

# kubectl's short names.
_SHORT = {"deployment": "deploy", "statefulset": "sts", "daemonset": "ds", "cronjob": "cj", "pod": "po"}
MOST_NAMES = 5


def run(arguments: argparse.Namespace) -> int:
    """The exit status is that of an audit of this application. Raises Fault."""
    cycle = judged(arguments)
    app = choose({key: policy.called for key, policy in cycle.policy.apps.items()}, arguments.name, arguments.namespace)
    told = explain(_findings(cycle, app))
    sys.stdout.buffer.write(_output(told, arguments.output))
    sys.stdout.flush()
    return {"Violated": VIOLATED, "Unknown": UNKNOWN}.get(told.findings.health, OK)


def choose(apps: Mapping[AppKey, str], name: str, namespace: str | None) -> AppKey:
    """The application that a user means. ``apps``: with their display names. Raises Fault where none or several fit."""
    if not apps:
        raise Fault("no application found: Prometheus has no metrics of node agents")
    spellings = {key: _spellings(key, called) for key, called in apps.items()}
    fitting = sorted(key for key, known in spellings.items() if name.lower() in known)
    here = [key for key in fitting if namespace in (None, key.namespace)]
    if len(here) == 1:
        return here[0]
    if here:
        names = ", ".join(str(key) for key in here[:MOST_NAMES])
        raise Fault(f"{len(here)} applications are called {name}: {names}; say which, by its whole name or with --namespace")
    if fitting:
        raise Fault(f"{name} is not in namespace {namespace}, but there is {', '.join(str(key) for key in fitting[:MOST_NAMES])}")
    scope = [key for key in apps if namespace in (None, key.namespace)] or list(apps)
    nearest = get_close_matches(name.lower(), {s for key in scope for s in spellings[key]}, 3 * MOST_NAMES, 0.5)
    near = list(dict.fromkeys(str(key) for spelling in nearest for key in scope if spelling in spellings[key]))[:MOST_NAMES]
    hint = f"near: {', '.join(near)}" if near else f"there are {len(apps)}, see `appstatus audit`"
    raise Fault(f"no application is called {name}; {hint}")


def _spellings(key: AppKey, called: str) -> set[str]:
    kinds = [key.kind.lower(), _SHORT.get(key.kind.lower(), "")]
    found = [key.name, key.status_name, *(f"{kind}/{key.name}" for kind in kinds if kind)]
    return {each.lower() for each in (*found, called, f"{key.namespace}/{key.name}", str(key)) if each}


def _findings(cycle: Cycle, app: AppKey) -> Findings:
    policy, judgement = cycle.policy.apps[app], cycle.judgement(app)
    assert judgement is not None
    return Findings(
        app=app,
        health=cycle.health[app],
        world=judgement.world,
        statuses=cycle.statuses(app),
        checks=judgement.checks,
        diagnosis=judgement.diagnoses.get(app),
        project=policy.project,
        called=policy.called,
        missing=missing(judgement.world),
    )


def _output(told: Explanation, form: str) -> bytes:
    if form == "json":
        return orjson.dumps(data.document(told), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if form == "html":
        return page.render(told).encode()
    encoding = sys.stdout.encoding or "ascii"
    unicode = encoding.lower().replace("-", "") == "utf8"
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    text = terminal.render(told, terminal.Look(shutil.get_terminal_size((100, 24)).columns, unicode, colour))
    return text.encode(encoding, "replace")  # names may hold what this terminal cannot show
