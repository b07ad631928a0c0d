"""Every benchmark starts: one of them has the name of a module of the standard library, which the others import."""

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
