"""Inspections: the checks of every application, from the world alone."""

from appstatus.inspections.runner import run

__all__ = ["run"]
