"""What all unit tests share: nothing depends on how fast the machine is, and the worlds made in `model/` are for everybody."""

import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("appstatus", deadline=None)
settings.load_profile("appstatus")
sys.path.append(str(Path(__file__).with_name("model")))
