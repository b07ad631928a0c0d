"""The chart: what it renders, what the API server says of it, what its schema refuses, what its roles allow.

After a wanted change of a template: `APPSTATUS_UPDATE_GOLDEN=1 pytest tests/e2e/chart`, then read the difference.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import binaries

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "appstatus"
GOLDEN = Path(__file__).parent / "golden"
NAMESPACE = "appstatus"
MONITORING = ("monitoring.serviceMonitor=true", "monitoring.podMonitor=true", "monitoring.prometheusRule=true")

# Every switch of the chart is in at least one of them.
VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "own-prometheus": (
        "prometheus.url=https://mimir.example/prometheus",
        "prometheus.authSecret=mimir",
        "prometheus.tlsSecret=mimir-ca",
        "prometheus.headers.X-Scope-OrgID=shop",
        "rbac.secrets={other-project}",
        "project.name=shop",
        "project.spec.namespaces.include={shop}",
        "project.spec.nodeAgent.enabled=false",
        *MONITORING,
        "monitoring.labels.release=kube-prometheus-stack",
    ),
    "everything-placed": (
        "clusterName=north",
        "imagePullSecrets={registry}",
        "operator.replicas=3",
        "operator.logFormat=text",
        "operator.priorityClassName=high",
        "operator.nodeSelector.pool=infra",
        "operator.tolerations[0].operator=Exists",
        "operator.podAnnotations.team=platform",
        "operator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
        ".matchFields[0].key=metadata.name,operator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms[0].matchFields[0].operator=In,operator.affinity.nodeAffinity"
        ".requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values={node-1}",
        "agent.priorityClassName=",
        "agent.extraCapabilities={SYS_RESOURCE}",
        "prometheus.step=30s",
        "prometheus.retention=90d",
        "prometheus.persistence.storageClassName=fast",
        "prometheus.persistence.keep=true",
        "prometheus.nodeSelector.pool=infra",
        "networkPolicy.from[0].namespaceSelector.matchLabels.name=grafana",
    ),
    "least": (
        "project.create=false",
        "prometheus.persistence.enabled=false",
        "networkPolicy.enabled=false",
        "operator.replicas=1",
    ),
}


def helm(*arguments: str, check: bool = True, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    binary = binaries.ensure("helm")["helm"]
    environment = os.environ | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    done = subprocess.run([str(binary), *arguments], env=environment, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"helm {' '.join(arguments)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done


def sets(values: tuple[str, ...]) -> list[str]:
    return [f"--set={value}" for value in values]


def render(values: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    text = helm("template", "appstatus", str(CHART), "-n", NAMESPACE, *sets(values)).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="module")
def api(api_server: Any) -> Iterator[Any]:
    api_server.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/name=appstatus", "--timeout=60s")
    api_server.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    )
    yield api_server


def test_helm_lint_is_content() -> None:
    answer = helm("lint", "--strict", str(CHART)).stdout
    assert "0 chart(s) failed" in answer and "[WARNING]" not in answer


def test_the_package_carries_the_crds_behind_the_link(tmp_path: Path) -> None:
    helm("package", str(CHART), "-d", str(tmp_path))
    (archive,) = tmp_path.glob("*.tgz")
    shown = yaml.safe_load_all(helm("show", "crds", str(archive)).stdout)
    names = sorted(crd["metadata"]["name"] for crd in shown if crd)
    assert names == [f"{plural}.appstatus.dev" for plural in ("appstatuses", "inspectionoverrides", "projects", "slos")]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_rendered_objects_are_the_golden_ones(name: str) -> None:
    rendered = yaml.safe_dump_all(render(VARIANTS[name]), sort_keys=False, width=140)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("APPSTATUS_UPDATE_GOLDEN"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_api_server_takes_every_object_without_a_warning(api: Any, name: str) -> None:
    """Strict: an unknown field is an error, a pod that Pod Security `restricted` refuses is a warning."""
    namespace = f"strict-{name}"
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    api.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    text = helm("template", "appstatus", str(CHART), "-n", namespace, *sets(VARIANTS[name])).stdout
    ours = [d for d in yaml.safe_load_all(text) if d and not d["apiVersion"].startswith("monitoring.coreos.com/")]
    done = api.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump_all(ours))
    assert done.stdout.count("(server dry run)") == len(ours)
    assert "Warning" not in done.stderr, done.stderr
    api.kubectl("delete", "namespace", namespace, "--wait=false")


def test_prometheus_understands_its_configuration(tmp_path: Path) -> None:
    for step in ("15s", "5s"):
        config = tmp_path / "prometheus.yml"
        config.write_text(one(render((f"prometheus.step={step}",)), "ConfigMap", "appstatus-prometheus")["data"]["prometheus.yml"])
        done = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid_and_fire(tmp_path: Path) -> None:
    documents = render(("monitoring.prometheusRule=true",))
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(one(documents, "PrometheusRule", "appstatus")["spec"]))
    labels = 'namespace="shop", application="{}", incident="9f2c41", role="{}", cause="postgres.statefulset", class="storage"'
    incident = f"appstatus_incident_active{{{{{labels}}}}}"
    tests = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": incident.format("checkout.deployment", "Opener"), "values": "1x10"},
                    {"series": incident.format("cart.deployment", "Affected"), "values": "1x10"},
                    {"series": "appstatus_last_successful_cycle_timestamp_seconds", "values": "0 60 120 120x20"},
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count(ALERTS{alertname="AppstatusIncident", alertstate="firing"})',
                        "eval_time": "5m",
                        "exp_samples": [{"value": 1, "labels": "{}"}],
                    },
                    {"expr": 'ALERTS{alertname="AppstatusNotJudging", alertstate="firing"}', "eval_time": "5m", "exp_samples": []},
                    {
                        "expr": 'count(ALERTS{alertname="AppstatusNotJudging", alertstate="firing"})',
                        "eval_time": "12m",
                        "exp_samples": [{"value": 1, "labels": "{}"}],
                    },
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "tests.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_incident_is_one_alert_though_its_cause_is_found_late_and_the_leader_changes(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(one(render(("monitoring.prometheusRule=true",)), "PrometheusRule", "appstatus")["spec"]))
    series = (
        'appstatus_incident_active{{namespace="shop", application="checkout.deployment", incident="9f2c41", role="Opener", '
        'pod="{}", cause="{}", class="{}"}}'
    )
    firing = 'ALERTS{alertname="AppstatusIncident", alertstate="firing"}'
    labels = {"namespace": "shop", "application": "checkout.deployment", "incident": "9f2c41", "severity": "critical"}
    annotations = {
        "summary": "shop/checkout.deployment violates its SLO",
        "description": "Incident 9f2c41. Cause: postgres.statefulset (storage). "
        "kubectl get appstatus checkout.deployment -n shop -o yaml",
    }
    once, always = ([{"value": value, "labels": "{}"}] for value in (1, 41))
    tests = {
        "rule_files": [str(rules)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                # One leader for 4 min without and with the cause, nobody for 2 min, then another leader for 4 min.
                "input_series": [
                    {"series": series.format("a", "", ""), "values": "1x7 stale"},
                    {"series": series.format("a", "postgres.statefulset", "storage"), "values": "_x8 1x7 stale"},
                    {"series": series.format("b", "postgres.statefulset", "storage"), "values": "_x24 1x15 stale"},
                ],
                "alert_rule_test": [
                    {
                        "eval_time": eval_time,
                        "alertname": "AppstatusIncident",
                        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
                    }
                    for eval_time in ("3m", "9m")
                ],
                "promql_expr_test": [
                    {"expr": f"count(count_over_time({firing}[20m]))", "eval_time": "14m", "exp_samples": once},
                    # At each of the 41 evaluations until the second leader ends.
                    {"expr": f"sum(count_over_time({firing}[10m15s]))", "eval_time": "10m", "exp_samples": always},
                    {"expr": firing, "eval_time": "14m", "exp_samples": []},
                ],
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "tests.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("operator.replicas=0", ("/operator/replicas", "minimum", "1")),
        ("operator.logLevel=verbose", ("/operator/logLevel", "debug", "warning")),
        ("prometheus.step=15", ("/prometheus/step", "got number, want string")),
        ("prometheus.step=1s", ("/prometheus/step", "does not match")),
        ("prometheus.url=prometheus:9090", ("/prometheus/url", "does not match")),
        ("prometheus.uri=http://prometheus", ("/prometheus", "uri")),
        ("replicas=2", ("replicas",)),
        ("agent.extraCapabilities={SYS_ADMIN}", ("/agent/extraCapabilities/0", "SYS_RESOURCE")),
        ("project.spec.prometheus.url=http://x", ("/project/spec", "not")),
        ("monitoring.podMonitor=maybe", ("/monitoring/podMonitor", "auto")),
        ("image.pullPolicy=Sometimes", ("/image/pullPolicy", "IfNotPresent")),
    ],
)
def test_the_schema_refuses_a_wrong_value_and_says_which(value: str, parts: tuple[str, ...]) -> None:
    done = helm("template", str(CHART), f"--set={value}", check=False)
    assert done.returncode != 0
    for part in parts:
        assert part in done.stderr


def test_a_chart_without_any_prometheus_says_so() -> None:
    done = helm("template", str(CHART), "--set=prometheus.create=false", check=False)
    assert "prometheus.url is empty and prometheus.create is false" in done.stderr
    assert render(("prometheus.create=false", "project.create=false")), "without a Project nobody needs one"


def test_with_a_url_no_prometheus_is_installed() -> None:
    names = {d["metadata"]["name"] for d in render(VARIANTS["own-prometheus"])}
    assert "appstatus-prometheus" not in names
    project = one(render(VARIANTS["own-prometheus"]), "Project", "shop")
    assert project["spec"]["prometheus"]["url"] == "https://mimir.example/prometheus"


def test_monitoring_is_off_without_the_crds_of_the_prometheus_operator() -> None:
    assert not [d for d in render() if d["apiVersion"].startswith("monitoring.coreos.com")]
    text = helm("template", str(CHART), "--api-versions=monitoring.coreos.com/v1").stdout
    kinds = {d["kind"] for d in yaml.safe_load_all(text) if d}
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= kinds


def test_the_chart_installs_upgrades_its_values_and_goes(api: Any) -> None:
    """No controllers run here: what is seen is that every object is taken, and that none has a finalizer that holds it."""
    namespace = "install"
    flags = ("-n", namespace, "--create-namespace", "--set=prometheus.persistence.enabled=false")
    notes = helm("install", "appstatus", str(CHART), *flags, kubeconfig=api.kubeconfig).stdout
    assert "kubectl get appstatus -A" in notes
    assert "all history is lost" in notes
    stored = json.loads(api.kubectl("get", "projects.appstatus.dev", "default", "-o", "json").stdout)
    assert stored["spec"]["prometheus"]["url"] == f"http://appstatus-prometheus.{namespace}:9090"
    assert not stored["metadata"].get("finalizers")
    helm("upgrade", "appstatus", str(CHART), *flags, "--no-hooks", "--set=operator.replicas=1", kubeconfig=api.kubeconfig)
    assert (
        json.loads(api.kubectl("get", "deployment", "appstatus-operator", "-n", namespace, "-o", "json").stdout)["spec"]["replicas"]
        == 1
    )
    helm("uninstall", "appstatus", "-n", namespace, kubeconfig=api.kubeconfig)
    kinds = "all,cm,sa,role,rolebinding,netpol,pdb,pvc"
    left = api.kubectl("get", kinds, "-n", namespace, "-l", "app.kubernetes.io/part-of=appstatus", "-o", "name").stdout
    assert left == ""
    cluster = api.kubectl("get", "clusterrole,clusterrolebinding,projects.appstatus.dev", "-o", "name").stdout
    assert "appstatus" not in cluster
    assert "appstatuses.appstatus.dev" in api.kubectl("get", "crd", "-o", "name").stdout, "the CRDs stay"
