"""No unit test depends on how fast the machine is."""

from hypothesis import settings

settings.register_profile("appstatus", deadline=None)
settings.load_profile("appstatus")
