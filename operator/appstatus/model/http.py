"""How a request ended, as one of few statuses."""

# The agent's own statuses pass unchanged: classes, ways to end without an answer, and unknown.
_CLASSES = frozenset({"1", "2", "3", "4", "5"})


def status_class(status: str) -> str:
    """``503`` -> ``5xx`` (coroot-node-agent has codes where ours has classes), nothing -> ``unknown``, all else unchanged."""
    if not status:
        return "unknown"
    if len(status) == 3 and status[0] in _CLASSES and status[1:].isdigit():
        return f"{status[0]}xx"
    return status
