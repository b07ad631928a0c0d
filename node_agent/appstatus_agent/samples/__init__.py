"""Samples of failed and slow requests: which one it was, with what it was about masked."""

from .masked import line
from .store import Sample, Samples

__all__ = ["Sample", "Samples", "line"]
