"""Every benchmark starts, although one has the name of a module of the standard library; what it makes of its runs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["agent.py", "operator.py"])
def test_it_says_how_it_is_used(name):
    done = subprocess.run([sys.executable, FOLDER / name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--json FILE" in done.stdout


@pytest.fixture(scope="module")
def agent():
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmark_of_the_agent", FOLDER / "agent.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


def runs(load, *speeds):
    """Rows of a load, without and with an agent in turn."""
    names = ("without", "ours")
    return [
        {"load": load, "variant": names[i % 2], "per_second": speed, "p50_us": 100, "p99_us": 200} for i, speed in enumerate(speeds)
    ]


def test_a_drift_of_the_machine_is_no_cost_of_the_agent(agent):
    rows = runs("saturation", 100_000, 94_500, 110_000, 103_950, 121_000, 114_975, 134_500)
    (found,) = agent.ratios(rows)
    assert found["throughput_kept"] == pytest.approx(0.9, abs=0.001)
    assert (found["pairs"], found["measured"]) == (3, 3)
    assert found["added_us"] == pytest.approx(found["without_us"] / 0.9 - found["without_us"], rel=0.02)
    assert found["without_us"] == pytest.approx(1e6 * os.cpu_count() / 115_500, rel=0.001)


def test_a_run_in_a_jump_of_the_machines_speed_does_not_count_where_others_do(agent):
    rows = runs("saturation", 100, 90, 100, 20, 200, 180, 200, 180, 200)
    (found,) = agent.ratios(rows)
    assert found["throughput_kept"] == pytest.approx(0.9)
    assert (found["pairs"], found["measured"]) == (3, 4)
    (found,) = agent.ratios(runs("saturation", 100, 20, 200))
    assert (found["pairs"], found["measured"]) == (1, 1)


def test_loads_are_compared_with_their_own_kind(agent):
    rows = [*runs("1000/s", 1000, 1000), *runs("saturation", 100, 80, 100), *runs("1000/s", 1000)]
    kept = {found["load"]: found["throughput_kept"] for found in agent.ratios(rows)}
    assert kept == {"1000/s": 1.0, "saturation": 0.8}
