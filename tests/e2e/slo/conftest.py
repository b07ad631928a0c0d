import sys
from pathlib import Path

# promprocess.py, the real Prometheus that the tests of the operator run too.
sys.path.insert(0, str(Path(__file__).parents[1] / "operator"))
