"""One judgement without installing anything: what the command line's verbs have in common."""

import argparse
import sys
import time
from datetime import datetime
from typing import Any

from appstatus.api.policy import resolve
from appstatus.api.scope import Scope
from appstatus.api.values import parse_duration
from appstatus.backfill import plan
from appstatus.documents import Cycle
from appstatus.judge import Configured, judge, objectives_of, parse
from appstatus.kube import ApiError, Kube, NoCluster, Unreachable, own_path
from appstatus.model.build import build
from appstatus.model.facts import Facts
from appstatus.model.queries import BACKFILL
from appstatus.model.who import Who
from appstatus.slo.ledger import Ledger
from appstatus.sources.kubernetes import listed
from appstatus.sources.prometheus import FRESHNESS, Prometheus
from appstatus.sources.promhttp import Endpoint, QueryFailed

OK, VIOLATED, FAILED, UNKNOWN = 0, 1, 2, 3


class Fault(Exception):
    """Something the user must put right; one sentence."""


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The options that say what to ask, and as of when."""
    parser.add_argument("--prometheus", required=True, metavar="URL", help="address without /api/v1, such as http://localhost:9090")
    parser.add_argument("--kubeconfig", metavar="FILE", help="ask this cluster too (default: no cluster)")
    parser.add_argument(
        "--at", metavar="TIME", type=moment, help="judge as of then: 2026-11-21T10:00:00Z or unix seconds (default: now)"
    )
    parser.add_argument(
        "--step", metavar="TIME", type=duration, default=15.0, help="scrape interval of the node agents (default 15s)"
    )
    parser.add_argument(
        "--history",
        metavar="TIME",
        type=duration,
        default=3 * 86400.0,
        help="how much of the SLOs' past to read, at most their window; slow tiers and budgets need it (default 3d)",
    )
    parser.add_argument(
        "--header", metavar="NAME=VALUE", action="append", default=[], help="further HTTP header, may be given often"
    )
    parser.add_argument("--insecure", action="store_true", help="accept any TLS certificate of Prometheus")


def moment(text: str) -> float:
    """Unix seconds."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time such as 2026-11-21T10:00:00Z nor unix seconds") from None
    return found.timestamp()


def duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def judged(arguments: argparse.Namespace) -> Cycle:
    """What the options of ``add_connection`` ask for. Raises Fault."""
    now = arguments.at if arguments.at is not None else time.time()
    facts, configured, namespaces = _cluster(arguments.kubeconfig)
    headers = [header.partition("=") for header in arguments.header]
    if any(not equals for _, equals, _ in headers):
        raise Fault("--header must be NAME=VALUE")
    endpoint = Endpoint(
        arguments.prometheus, verify=not arguments.insecure, headers=tuple((name, value) for name, _, value in headers)
    )
    prometheus = Prometheus(endpoint, arguments.step, deadline=60.0)
    try:
        return _judge(prometheus, facts, configured, namespaces, arguments, now)
    finally:
        prometheus.close()


def _cluster(kubeconfig: str | None) -> tuple[Facts, Configured, dict[str, dict[str, str]]]:
    """Facts, custom resources and namespaces; nothing of them without a kubeconfig, or as far as the rights go."""
    if kubeconfig is None:
        return Facts(), Configured(), {}
    try:
        kube = Kube.connect(kubeconfig)
        facts, refused = listed(kube)
        for plural, why in refused.items():
            print(f"appstatus: {plural} cannot be read, going on without: {why}", file=sys.stderr)
        own = [_readable(kube, own_path(plural)) for plural in ("projects", "slos", "inspectionoverrides")]
        namespaces = _readable(kube, "/api/v1/namespaces")
    except (NoCluster, Unreachable) as error:
        raise Fault(f"the cluster of {kubeconfig} cannot be asked: {error}") from error
    labels = {raw["metadata"]["name"]: raw["metadata"].get("labels") or {} for raw in namespaces}
    return facts, parse(*own), labels


def _readable(kube: Kube, where: str) -> list[Any]:
    try:
        return list(kube.list(where))
    except ApiError:
        return []


def _judge(
    prometheus: Prometheus,
    facts: Facts,
    configured: Configured,
    namespaces: dict[str, dict[str, str]],
    arguments: argparse.Namespace,
    now: float,
) -> Cycle:
    if not configured.projects:
        configured.projects = parse([_default_project(arguments)], [], []).projects
    known = Scope(configured.projects, namespaces)
    metrics = prometheus.at(now, lambda identity: Who(facts, identity, known))
    if FRESHNESS in metrics.failed:
        raise Fault(f"Prometheus cannot be asked: {metrics.failed[FRESHNESS]}")
    for query, why in metrics.failed.items():
        print(f"appstatus: query {query} failed: {why}", file=sys.stderr)
    world = build(prometheus.who, metrics, now)
    # Namespaces that only the metrics know of belong to the first Project, as they would if the cluster could be asked.
    namespaces = {app.namespace: {} for app in world.applications if app.namespace} | namespaces
    scope = Scope(configured.projects, namespaces)
    judged = [app for app in world.applications.values() if app.ref is not None or not facts.workloads]
    policy = resolve(scope, configured.slos, configured.overrides, judged, now)
    # Indicators in PromQL are the operator's: they need their own queries over their whole window.
    objectives = [objective for objective in objectives_of(policy, list(policy.apps)) if objective.indicator != "promql"]
    ledger = Ledger(arguments.step, now)
    ledger.update(world, objectives)
    for chunk in plan(now, min(arguments.history, max((o.window for o in objectives), default=0.0))):
        try:
            past = prometheus.chunk(BACKFILL, chunk.start, chunk.end, chunk.step, 60.0)
        except QueryFailed as error:
            print(f"appstatus: the past before {datetime.fromtimestamp(chunk.end):%F %T} is left out: {error}", file=sys.stderr)
            break
        ledger.backfill(build(prometheus.who, past, now), objectives)
    judgement = judge(world, policy, ledger, objectives, now)
    found = Cycle(now, facts, policy, dict.fromkeys(policy.projects, judgement))
    found.judge_health()
    return found


def _default_project(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"metadata": {"name": "default"}, "spec": {"prometheus": {"url": arguments.prometheus}}}
