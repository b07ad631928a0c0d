"""The tables of docs/slo.md are what the code does."""

import re
from pathlib import Path

from appstatus.api.objective import Outage
from appstatus.api.tiers import default_tiers, usable
from appstatus.api.values import format_duration

DOC = (Path(__file__).parents[3] / "docs" / "slo.md").read_text()
WINDOW = 30 * 86400.0
OBJECTIVES = (0.99, 0.995, 0.999)
SHARES = (0.005, 0.01, 0.02, 0.05, 0.14, 0.5, 1.0)


def table(name: str) -> list[str]:
    found = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- end -->", DOC, re.S)
    assert found, name
    return found[1].splitlines()[2:]


def spelled(seconds: float) -> str:
    parts, left = [], round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts)


def detection(share: float, ratio: float) -> str:
    if share >= Outage().share:
        return "outage"
    kept, _ = usable(default_tiers(WINDOW), WINDOW, ratio, 15.0)
    times = {
        tier.name: tier.long * tier.factor(WINDOW) * (1 - ratio) / share
        for tier in kept
        if share > tier.factor(WINDOW) * (1 - ratio) * (1 + 1e-9)
    }
    if not times:
        return "never"
    first = min(times, key=lambda name: times[name])
    return f"{spelled(times[first])} ({first})"


def test_tiers():
    expected = []
    for tier in default_tiers(WINDOW):
        windows = f"{format_duration(tier.short)} / {format_duration(tier.long)}"
        expected.append(f"| {tier.name} | {windows} | {100 * tier.budget:g}% | {tier.factor(WINDOW):.4g} | {tier.severity} |")
    assert table("tiers") == expected


def test_detection_times():
    expected = []
    for share in SHARES:
        cells = " | ".join(detection(share, ratio) for ratio in OBJECTIVES)
        expected.append(f"| {100 * share:g}% | {cells} |")
    assert table("detection") == expected


def test_other_windows():
    fast = default_tiers(7 * 86400.0)[0]
    assert f"fast is {format_duration(fast.short)} / {format_duration(fast.long)}" in DOC


def test_a_total_outage_without_the_outage_check():
    assert f"for {spelled(3600 * 14.4 * 0.01)} unseen".replace("8m 38s", "8 min 38 s") in DOC
