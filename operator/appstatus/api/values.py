"""How durations, percentages and decimals are written in the custom resources, and read."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|w)")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")


def is_label_value(text: str) -> bool:
    """Whether a Kubernetes label may have this value."""
    return _LABEL_VALUE.fullmatch(text) is not None


def parse_duration(text: str) -> float:
    """Seconds of ``250ms``, ``1.5s``, ``5m``, ``30d``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a time such as 250ms, 15s, 5m or 30d')
    # Through the unit's own whole number, so that 250ms is the float 0.25 that a reader expects.
    return float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest way to write it: ``0.25`` -> ``250ms``, ``90`` -> ``90s``, ``2592000`` -> ``30d``."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def parse_decimal(text: str) -> float:
    """A decimal number without sign. Raises ValueError."""
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f'"{text}" is not a decimal number such as 95 or 0.5')
    return float(text)


def parse_objective(text: str) -> float:
    """Fraction of a percentage more than 0 and less than 100: ``99.5`` -> 0.995. Raises ValueError."""
    percent = parse_decimal(text)
    if not 0 < percent < 100:
        raise ValueError(f'"{text}" is not a percentage more than 0 and less than 100')
    return round(percent / 100, 12)


def format_objective(ratio: float) -> str:
    """``0.995`` -> ``99.5%``."""
    return f"{round(ratio * 100, 10):.10g}%"
