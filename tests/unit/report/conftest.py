import sys
from pathlib import Path

# callgraph.py: worlds in which the share of every cause is known.
sys.path.append(str(Path(__file__).parents[1] / "diagnosis"))
