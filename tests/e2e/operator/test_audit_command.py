"""``appstatus audit`` and ``explain`` on a real Prometheus with two hours of the past: judging without installing anything."""

import json
import os
import subprocess
import sys
import time

import objects
import pytest
import yaml
from appstatus.kube import own_path
from promprocess import PrometheusProcess

HOUR = 3600.0
STEP = 15.0
OUTAGE = 600.0  # the last ten minutes


@pytest.fixture(scope="module")
def end():
    """A little in the past, and whole: the last sample of every series is there."""
    return (time.time() - 120) // 60 * 60


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, end):
    folder = tmp_path_factory.mktemp("audit")
    shop = objects.shop()

    def at(moment):
        shop.flows[1].bad = 1.0 if moment > end - OUTAGE else 0.0

    shop.write_past(folder / "past.om", end - 2 * HOUR, end + 1, STEP, at)
    found = PrometheusProcess(folder, {}, STEP)
    create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "past.om"), str(found.data)]
    subprocess.run(create, check=True, capture_output=True)
    found.start()
    yield found
    found.stop()


def audit(*arguments):
    return run("audit", *arguments)


def run(*arguments, **environment):
    command = [sys.executable, "-m", "appstatus.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def rows(done):
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[1]: line for line in lines[1:]}


def test_a_violation_is_shown_first_with_its_cause_and_in_the_exit_status(prometheus, end):
    done = audit("--prometheus", prometheus.url, "--at", str(end), "--history", "2h")
    assert done.returncode == 1, done.stderr
    print(f"\n{done.stdout}")
    first = done.stdout.splitlines()[1]
    assert first.split()[1:4] == ["checkout.deployment", "Violated", "1/2"]
    assert "checkout.deployment: answers with errors" in first
    assert rows(done)["catalog.deployment"][2] == "Healthy"


def test_before_the_outage_all_is_well(prometheus, end):
    done = audit(
        "--prometheus",
        prometheus.url,
        "--at",
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end - OUTAGE - 60)),
        "--history",
        "1h",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row[2] for row in rows(done).values()} == {"Healthy"}


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_same_as_documents(prometheus, end, form, read):
    done = audit("--prometheus", prometheus.url, "--at", str(end), "--history", "1h", "-o", form, "-n", objects.NAMESPACE)
    items = {item["metadata"]["name"]: item for item in read(done.stdout)["items"]}
    assert set(items) == {f"{name}.deployment" for name in objects.APPS}
    assert items["checkout.deployment"]["status"]["health"] == "Violated"
    assert items["checkout.deployment"]["kind"] == "AppStatus"


def test_with_a_cluster_its_workloads_and_slos_are_used(prometheus, end, kube, own_api):
    objects.cluster(kube)
    objects.deployment(kube, "idle", "10.0.0.9")
    objects.project(kube, "http://elsewhere:9090", "15s")
    target = {"targetRef": {"kind": "Deployment", "name": "checkout"}, "objective": "99.9", "indicator": {"availability": {}}}
    slo = {"apiVersion": "appstatus.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "orders"}, "spec": target}
    objects.create(kube, own_path("slos", objects.NAMESPACE), slo)
    arguments = ("--prometheus", prometheus.url, "--kubeconfig", str(own_api.kubeconfig), "--at", str(end), "--history", "1h")
    done = audit(*arguments, "-o", "json")
    items = {item["metadata"]["name"]: item["status"] for item in json.loads(done.stdout)["items"]}
    assert "idle.deployment" in items, "no metric knows it"
    checkout = items["checkout.deployment"]
    assert [slo["name"] for slo in checkout["slos"]] == ["orders"], "the cluster's own SLO, in place of the defaults"
    assert checkout["instances"] == {"desired": 1, "available": 1}


def test_the_past_without_data_is_unknown(prometheus, end):
    done = audit("--prometheus", prometheus.url, "--at", str(end + 1000), "--history", "1h")
    assert done.returncode == 3, done.stdout
    assert {row[2] for row in rows(done).values()} == {"Unknown"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prometheus", "http://127.0.0.1:9"), "Connection refused"),
        (("--prometheus", "http://127.0.0.1:9", "--kubeconfig", "/nowhere"), "/nowhere"),
        (("--prometheus", "http://127.0.0.1:9", "--at", "yesterday"), "'yesterday' is neither a time"),
        ((), "--prometheus"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, message):
    done = audit(*arguments)
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def explain(prometheus, end):
    def explain(name, *more, at=end, **environment):
        return run("explain", name, "--prometheus", prometheus.url, "--at", str(at), "--history", "1h", *more, **environment)

    return explain


def test_a_violation_is_explained(explain):
    done = explain("frontend", PYTHONUTF8="1")
    assert (done.returncode, done.stderr) == (0, ""), "frontend answers well: only its calls to checkout fail"
    assert "frontend.deployment DependencyErrors 100%" in done.stdout
    done = explain("checkout.deployment", PYTHONUTF8="1")
    print(f"\n{done.stdout}")
    assert done.returncode == 1, done.stderr
    first, fact = done.stdout.splitlines()[:2]
    assert first.startswith("shop/checkout.deployment: Violated since ") and "(10m)" in first
    assert fact.startswith("  100% of requests to checkout failed for ")
    assert "1. checkout.deployment: answers with errors" in done.stdout
    picture = next(line for line in done.stdout.splitlines() if line.startswith("     checkout failing "))
    assert "0% -> 98.8%" in picture and "▁│█" in picture, "the scrape at the onset holds some of the time before"
    assert explain("checkout", PYTHONUTF8="0", LC_ALL="C", PYTHONIOENCODING="ascii").stdout.isascii()


def test_the_page_and_the_data_say_the_same(explain):
    page = explain("deployment/checkout", "-o", "html")
    assert page.returncode == 1 and page.stdout.rstrip().endswith("</html>")
    assert "answers with errors" in page.stdout and page.stdout.count("<svg") >= 2
    data = json.loads(explain("checkout", "-o", "json", "-n", objects.NAMESPACE).stdout)
    assert data["diagnosis"]["causes"][0]["class"] == "error-burst"


def test_where_all_is_well_nothing_is_made_up(explain, end):
    done = explain("checkout", at=end - OUTAGE - 60)
    assert done.returncode == 0 and "Every SLO of checkout is met" in done.stdout
    done = explain("checkout", at=end + 1000)
    assert done.returncode == 3 and "Nothing can be said of checkout" in done.stdout


def test_an_unknown_name_lists_near_ones(explain):
    done = explain("chekout")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "appstatus: no application is called chekout; near: shop/checkout.deployment\n"
