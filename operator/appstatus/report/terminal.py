"""An explanation as text, for people at a terminal; lines that hold little else than what to read next."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from appstatus.api.conditions import format_time
from appstatus.api.names import AppKey
from appstatus.diagnosis import wording
from appstatus.diagnosis.propagation import Link
from appstatus.model.series import F64
from appstatus.report import text
from appstatus.report.explanation import Blamed, Explanation, Measured, percent, told

CELLS = 32  # of a sparkline
_BLOCKS, _LETTERS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_PAINT = {"bold": "\x1b[1m", "bad": "\x1b[1;31m", "good": "\x1b[1;32m", "head": "\x1b[1;36m"}
_HEALTH = {"Violated": "bad", "Warning": "bold", "Unknown": "bold", "Healthy": "good"}


@dataclass(frozen=True, slots=True)
class Look:
    """width: of the terminal; unicode: it can show blocks and lines; colour: it understands ANSI escapes."""

    width: int = 100
    unicode: bool = True
    colour: bool = False


def render(x: Explanation, look: Look) -> str:
    """Ends in a newline. Control characters in names (they come from other people's metrics) do not reach the terminal."""
    lines = []
    for style, line in _lines(x, look):
        shown = "".join(c if c.isprintable() else "?" for c in line).rstrip()
        lines.append(f"{_PAINT[style]}{shown}\x1b[0m" if look.colour and style and shown else shown)
    return "\n".join(lines) + "\n"


Line = tuple[str, str]  # style (empty: none), text


def _lines(x: Explanation, look: Look) -> Iterator[Line]:
    found = x.findings
    since = ""
    if x.onset is not None:
        since = f" since {wording.clock(x.onset)} UTC ({text.ago(found.world.now - x.onset)})"
    yield _HEALTH.get(found.health, ""), f"{x.title}: {found.health}{since}"
    for sentence in x.verdict:
        yield from _wrapped(sentence, look, "  ")
    if x.todo:
        yield "bold", f"  Do first: {x.todo}"
    if x.runbook:
        yield "", f"  Runbook: {x.runbook}"
    if x.symptoms:
        yield "", ""
        yield from _measured(x, x.symptoms, look, "  ")
        mark = "; the bar marks the onset" if x.onset is not None else ""
        yield "", f"  (the hour until {format_time(found.world.now)}{mark})"
    if x.links:
        yield from _head("From the users' side to the cause (each share is of the whole)")
        yield from _tree(x, look)
    if x.causes:
        yield from _head("Causes")
        for number, blamed in enumerate(x.causes, 1):
            yield from _cause(x, number, blamed, look)
    if x.dismissed:
        yield from _head("Looked at and dismissed")
        for sentence in x.dismissed:
            yield from _wrapped(sentence, look, "  ")
    if x.happenings or x.note:
        yield from _head("Timeline (UTC)")
        yield from _timeline(x)
        yield from [("", f"  {x.note}")] if x.note else ()
    if x.failing:
        yield from _head("Failing checks")
        yield from _failing(x, look)
    if x.slos:
        yield from _head("SLOs")
        rows = [
            (s["name"], s["indicator"], s["objective"], f"SLI {s['sli']}", f"budget {s['budget']}", f"burn {s['burn']}", s["state"])
            for s in x.slos
        ]
        yield from (("", f"  {line}") for line in _table(rows))


def _head(title: str) -> Iterator[Line]:
    yield "", ""
    yield "head", title


def _wrapped(sentence: str, look: Look, indent: str) -> Iterator[Line]:
    width = max(40, min(look.width, 120))
    for line in textwrap.wrap(sentence, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False):
        yield "", line


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _measured(x: Explanation, facts: Sequence[Measured], look: Look, indent: str) -> Iterator[Line]:
    """Name, values and picture in columns; what it means where there is room."""
    pictures = ["" if fact.values is None else sparkline(fact.values, _mark(x), look.unicode) for fact in facts]
    rows = [(fact.name, fact.shift, picture) for fact, picture in zip(facts, pictures, strict=True)]
    if max(len(fact.name) for fact in facts) > max(look.width, 80) - CELLS - 28:  # long names have lines of their own
        for name, *rest in rows:
            yield from (("", indent + name), ("", f"{indent}  {'  '.join(rest)}"))
        return
    for line, fact in zip(_table(rows), facts, strict=True):
        with_meaning = f"{indent}{line}  {fact.meaning}" if fact.meaning else indent + line
        fits = len(with_meaning) <= max(look.width, 80)
        yield "", with_meaning if fits else indent + line


def _mark(x: Explanation) -> int | None:
    """Index of the first sample after the onset."""
    return None if x.onset is None else int(np.searchsorted(x.findings.world.times, x.onset, side="right"))


def sparkline(values: F64, mark: int | None, unicode: bool) -> str:
    """``▁▁▁▁▁▁│▇█``: means of CELLS equal parts from 0 on, a blank where nothing is known, a bar before sample ``mark``."""
    levels, bar = (_BLOCKS, "│") if unicode else (_LETTERS, "|")
    halves = [values] if mark is None or not 0 < mark < len(values) else [values[:mark], values[mark:]]
    means = [_means(half, max(1, round(CELLS * len(half) / len(values)))) for half in halves]
    top = max((mean for part in means for mean in part if not np.isnan(mean)), default=0.0)

    def cell(mean: float) -> str:
        if np.isnan(mean):
            return " "
        return levels[min(len(levels) - 1, int(len(levels) * max(mean, 0.0) / top))] if top > 0 else levels[0]

    return bar.join("".join(map(cell, part)) for part in means)


def _means(values: F64, cells: int) -> list[float]:
    parts = np.array_split(values, min(cells, len(values)))
    return [float(np.nanmean(part)) if not np.isnan(part).all() else float("nan") for part in parts]


def _tree(x: Explanation, look: Look) -> Iterator[Line]:
    rows: list[tuple[str, str, str]] = []
    lead = "└─ " if look.unicode else "`- "
    marks: dict[AppKey, list[str]] = {}
    for number, blamed in enumerate(x.causes, 1):
        marks.setdefault(blamed.cause.app, []).append(f"<- cause {number}")

    def visit(app: AppKey, link: Link | None, depth: int, seen: tuple[AppKey, ...]) -> None:
        indent = "   " * (depth - 1) + lead + f"{percent(link.share)}  " if link is not None else ""
        rows.append((f"  {indent}{x.shown(app)}", told(link) if link is not None else "", " ".join(marks.get(app, []))))
        for each in x.links:
            if each.start == app and each.end not in seen:
                visit(each.end, each, depth + 1, (*seen, each.end))

    visit(x.findings.app, None, 0, (x.findings.app,))
    yield from (("", line) for line in _table(rows))


def _cause(x: Explanation, number: int, blamed: Blamed, look: Look) -> Iterator[Line]:
    place = f" ({blamed.place})" if blamed.place else ""
    yield "bold", f"  {number}. {blamed.title}{place}"
    yield "", f"     {blamed.share}"
    yield from _measured(x, blamed.facts, look, "     ") if blamed.facts else ()
    yield "", f"     First: {blamed.todo}"


def _timeline(x: Explanation) -> Iterator[Line]:
    rows = [
        (each.at, x.shown(each.where) if isinstance(each.where, AppKey) else f"node {each.where}", each.what, each.on_path)
        for each in x.happenings
    ]
    shown = [(wording.clock(at), where, what + ("" if near else "  (not on the way)")) for at, where, what, near in rows]
    if x.onset is not None:
        later = next((i for i, row in enumerate(rows) if row[0] > x.onset), len(rows))
        shown.insert(later, (wording.clock(x.onset), "ONSET", f"{x.findings.app.name} begins to hurt its users"))
    yield from (("", f"  {line}") for line in _table(shown))


def _failing(x: Explanation, look: Look) -> Iterator[Line]:
    for each in x.failing:
        check = each.check
        since = f" since {wording.clock(check.since)}" if check.since is not None else ""
        where = f" on {text.names(check.instances, 3)}" if check.instances else ""
        yield from _wrapped(f"{x.shown(each.app)} {check.id} {each.value}{since}{where}: {check.evidence or each.todo}", look, "  ")
