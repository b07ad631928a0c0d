import sys
from pathlib import Path

SHOP = Path(__file__).parents[2] / "e2e" / "shop"
# The shop's commands are scripts that import each other; the image has shopsvc on its path.
sys.path[:0] = [str(SHOP), str(SHOP / "images" / "service")]
