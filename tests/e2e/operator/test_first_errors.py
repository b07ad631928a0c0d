"""Expressions evaluated by the real Prometheus code (promtool): every event counts, from the first on; both agents' retransmits."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from appstatus.model.queries import BY_ID
from appstatus.sources.prometheus import _expr

STEP = 15
SERIES = {
    "requests_in": 'container_http_inbound_requests_total{machine_id="m",container_id="c",peer="cluster",status="5xx"}',
    "requests_out": (
        'container_http_requests_total{machine_id="m",container_id="c",destination="d",actual_destination="a",status="5xx"}'
    ),
    "tcp_failed_connects": 'container_net_tcp_failed_connects_total{machine_id="m",container_id="c",destination="d"}',
}
# promtool loads the samples up to its last evaluation only, less one interval.
LATER = {"expr": "vector(1)", "eval_time": f"{12 * STEP}s", "exp_samples": [{"labels": "{}", "value": 1}]}
# Samples, one per step, and the events in the step that ends with each of them.
COUNTERS = {
    "first errors": ([0, 0, 12, 12, 15, 15], [0, 0, 12, 0, 3, 0]),
    "one error": ([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 1, 0]),
    "small, then many": ([1, 1, 100, 101, 400, 400], [0, 0, 99, 1, 299, 0]),
    "reset": ([500, 510, 7, 7, 9, 9], [0, 10, 7, 0, 2, 0]),
    "reset to nothing": ([500, 510, 0, 12, 12, 12], [0, 10, 0, 12, 0, 0]),
}


@pytest.mark.parametrize("query", SERIES)
@pytest.mark.parametrize("phase", [1, 6, 14])
def test_every_event_counts_once_in_its_step(query, phase, tmp_path):
    sparse = BY_ID[query].expr.endswith("> 0")  # its zeros are left out
    query_labels = SERIES[query].partition("{")[2][:-1]
    labels = dict(pair.replace('"', "").split("=") for pair in query_labels.split(","))
    shown = "{" + ", ".join(f'{name}="{labels[name]}"' for name in sorted(BY_ID[query].by)) + "}"
    tests = [
        {
            "name": name,
            "interval": f"{STEP}s",
            "input_series": [{"series": SERIES[query], "values": " ".join(map(str, samples))}],
            "promql_expr_test": [
                {
                    "expr": f"round({STEP} * ({_expr(BY_ID[query], STEP)}), 0.001)",
                    # The sample of a step is older than the moment of the evaluation by the scrape's phase.
                    "eval_time": f"{i * STEP + phase}s",
                    "exp_samples": [{"labels": shown, "value": expected[i]}] if expected[i] or not sparse else [],
                }
                for i in range(1, len(samples))
            ]
            + [LATER],
        }
        for name, (samples, expected) in COUNTERS.items()
    ]
    evaluate(tests, tmp_path)


@pytest.mark.parametrize(
    ("spurious", "expected"), [("400 400 420 420 450", 30), (None, 60)], ids=["our agent", "coroot-node-agent"]
)
def test_retransmits_of_what_the_receiver_had_are_left_out_where_they_are_known(spurious, expected, tmp_path):
    labels = 'machine_id="m",container_id="c",destination="d",actual_destination="a"'
    series = {"container_net_tcp_retransmits_total": "500 500 530 530 590"}
    if spurious:
        series["container_net_tcp_spurious_retransmits_total"] = spurious
    shown = '{actual_destination="a", container_id="c", destination="d", machine_id="m"}'
    again = {
        "expr": f"round({STEP} * ({_expr(BY_ID['tcp_retransmits'], STEP)}))",
        "eval_time": f"{4 * STEP + 1}s",
        "exp_samples": [{"labels": shown, "value": expected}],
    }
    inputs = [{"series": f"{name}{{{labels}}}", "values": values} for name, values in series.items()]
    evaluate([{"interval": f"{STEP}s", "input_series": inputs, "promql_expr_test": [again, LATER]}], tmp_path)


def evaluate(tests: list[dict], folder: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
