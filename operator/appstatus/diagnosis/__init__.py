"""Diagnosis: the most likely cause of a violation, from the world and the SLOs' status."""

from appstatus.diagnosis.diagnose import diagnose

__all__ = ["diagnose"]
