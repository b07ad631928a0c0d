"""Recorded incidents in the form that the operator's diagnosis takes: one module for each set, which only translates."""
