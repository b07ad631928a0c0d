import sys
from pathlib import Path

# worlds.py, the small worlds that the tests of model, inspections and diagnosis share.
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
