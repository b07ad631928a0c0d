"""Pictures for a page: charts of an hour, and the graph of the way of the pain. Colours are the page's own (CSS variables)."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from appstatus.api.names import AppKey
from appstatus.diagnosis import wording
from appstatus.diagnosis.propagation import Link
from appstatus.model.series import F64
from appstatus.report.explanation import Explanation, Measured, percent, told

WIDE, HIGH = 600, 100  # of a chart's own coordinates; it is stretched to its place


def shown(line: str) -> str:
    """Escaped, with arrows that do not break in the middle."""
    return escape(line).replace("-&gt;", "→")


def chart(fact: Measured, times: F64, onset: float | None) -> str:
    """One series from 0 on; what is after the onset is shaded. Its labels are HTML: they keep their size on any screen."""
    assert fact.values is not None
    begin, span = float(times[0]), float(times[-1] - times[0]) or 1.0
    top = float(np.nan_to_num(fact.values).max())
    xs, ys = WIDE * (times - begin) / span, HIGH - (HIGH - 6) * np.maximum(fact.values, 0.0) / (top or 1.0)
    lines, areas = [], []
    for part in np.split(np.arange(len(ys)), np.flatnonzero(np.diff(np.isnan(ys))) + 1):
        if len(part) and not np.isnan(ys[part[0]]):
            points = " L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs[part], ys[part], strict=True))
            lines.append(f"M{points}" if len(part) > 1 else f"M{points} h2")
            areas.append(f"M{xs[part[0]]:.1f} {HIGH} L{points} L{xs[part[-1]]:.1f} {HIGH} Z")
    shade = label = ""
    if onset is not None:
        at = WIDE * min(max((onset - begin) / span, 0.0), 1.0)
        shade = (
            f'<rect class="during" x="{at:.1f}" y="0" width="{WIDE - at:.1f}" height="{HIGH}"/>'
            f'<line class="onset" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HIGH}"/>'
        )
        side = "right" if at > WIDE / 2 else "left"
        place = 100 * (1 - at / WIDE) if side == "right" else 100 * at / WIDE
        label = f'<span class="at" style="{side}:{place:.1f}%">onset {wording.clock(onset)}</span>'
    spoken = escape(f"{fact.name} {fact.shift}", quote=True)
    return (
        f'<div class="plot"><span class="top">{escape(wording.quantity(top, fact.unit))}</span>{label}'
        f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" aria-label="{spoken}">{shade}'
        f'<path class="area" d="{" ".join(areas)}"/><path class="line" d="{" ".join(lines)}"/></svg>'
        f'<span class="from">{wording.clock(begin)}</span><span class="to">{wording.clock(float(times[-1]))} UTC</span></div>'
    )


# Of the graph, pixels.
NODE_WIDE, NODE_HIGH, GAP_WIDE, GAP_HIGH, LANE = 236, 66, 18, 58, 30
# Letters of a line that fit into a node, in the widest of common fonts.
LETTERS = {"name": 25, "fact": 34, "why": 34}

Slot = AppKey | tuple[int, int]  # an application, or (link, layer): where a link passes a layer


def graph(x: Explanation) -> str:
    """The violator on top, every application under all those from which the pain reaches it."""
    start = x.findings.app
    ways, layers = _layers(start, x.links)
    widths = [sum(_wide(slot) + GAP_WIDE for slot in layer) - GAP_WIDE for layer in layers]
    wide, high = max(widths) + 4, len(layers) * (NODE_HIGH + GAP_HIGH) - GAP_HIGH + 4
    centre: dict[Slot, tuple[float, float]] = {}
    for depth, (layer, width) in enumerate(zip(layers, widths, strict=True)):
        parents = [centre[way[i - 1]][0] for way in ways for i in range(1, len(way)) if way[i] in layer]
        middle = sum(parents) / len(parents) if parents else wide / 2
        left = min(max(2.0, middle - width / 2), wide - width - 2)
        for slot in layer:
            centre[slot] = left + _wide(slot) / 2, 2 + depth * (NODE_HIGH + GAP_HIGH) + NODE_HIGH / 2
            left += _wide(slot) + GAP_WIDE
    edges, labels = [], []
    for link, way in zip(x.links, ways, strict=True):
        path = ""
        for above, below in pairwise(way):
            (x1, y1), (x2, y2) = centre[above], centre[below]
            y1, y2 = y1 + NODE_HIGH / 2, y2 - NODE_HIGH / 2
            if not path:
                path = f"M{x1:.0f} {y1:.0f}"
                lx, ly = (x1 + x2) / 2, (y1 + y2) / 2
            path += f" C{x1:.0f} {y1 + 30:.0f} {x2:.0f} {y2 - 30:.0f} {x2:.0f} {y2:.0f}"
            if not isinstance(below, AppKey):
                path += f" L{x2:.0f} {y2 + NODE_HIGH:.0f}"
        kind = "" if link.how == "calls" else " dashed"
        hint = escape(f"{x.shown(link.start)} -> {x.shown(link.end)}: {percent(link.share)} {told(link)}")
        edges.append(f'<path class="edge{kind}" stroke-width="{1.5 + 5 * link.share:.1f}" d="{path}"><title>{hint}</title></path>')
        labels.append(
            f'<rect class="tag" x="{lx - 21:.0f}" y="{ly - 10:.0f}" width="42" height="20" rx="10"/>'
            f'<text class="share" x="{lx:.0f}" y="{ly + 4:.0f}">{percent(link.share)}</text>'
        )
    nodes = [_node(x, slot, *centre[slot]) for layer in layers for slot in layer if isinstance(slot, AppKey)]
    return (
        f'<svg class="graph" viewBox="0 0 {wide:.0f} {high}" width="{wide:.0f}" height="{high}" role="img" '
        f'style="min-width:{0.72 * wide:.0f}px" aria-label="The way from the violator to the cause">'
        f"{''.join((*edges, *labels, *nodes))}</svg>"
    )


def _wide(slot: Slot) -> int:
    return NODE_WIDE if isinstance(slot, AppKey) else LANE


def _layers(start: AppKey, links: Sequence[Link]) -> tuple[list[list[Slot]], list[list[Slot]]]:
    """(the slots that each link passes, the slots of each layer from left to right): longest ways first (Sugiyama's layers)."""
    forward = _without_circles(start, links)
    depth = {start: 0}
    for _ in links:
        for link in forward:
            if link.start in depth:
                depth[link.end] = max(depth.get(link.end, 0), depth[link.start] + 1)
    layers: list[list[Slot]] = [[] for _ in range(max(depth.values()) + 1)]
    for app in depth:
        layers[depth[app]].append(app)
    ways: list[list[Slot]] = []
    for number, link in enumerate(links):
        above, below = sorted((link.start, link.end), key=lambda app: depth[app])
        way: list[Slot] = [above, *((number, d) for d in range(depth[above] + 1, depth[below])), below]
        for d, slot in enumerate(way[1:-1], depth[above] + 1):
            layers[d].append(slot)
        ways.append(way)
    # Each slot under the middle of those above it, so that few links cross.
    for upper, lower in pairwise(layers):
        place = {slot: i / max(1, len(upper) - 1) if len(upper) > 1 else 0.5 for i, slot in enumerate(upper)}
        above_of = {s: [place[w[i - 1]] for w in ways for i in range(1, len(w)) if w[i] == s and w[i - 1] in place] for s in lower}
        lower.sort(key=lambda slot: sum(above_of[slot]) / max(1, len(above_of[slot])))
    return ways, layers


def _without_circles(start: AppKey, links: Sequence[Link]) -> list[Link]:
    """Links but those that lead back to an application on the way to them."""
    kept: list[Link] = []
    done: set[AppKey] = set()

    def visit(app: AppKey, way: tuple[AppKey, ...]) -> None:
        done.add(app)
        for link in links:
            if link.start == app and link.end not in way:
                kept.append(link)
                if link.end not in done:
                    visit(link.end, (*way, link.end))

    visit(start, (start,))
    return kept


def _node(x: Explanation, app: AppKey, cx: float, cy: float) -> str:
    incoming = next((link for link in x.links if link.end == app), None)
    causes = [(number, blamed) for number, blamed in enumerate(x.causes, 1) if blamed.cause.app == app]
    lines = [("name", x.shown(app))]
    if app == x.findings.app:
        lines.append(("fact", f"{x.symptoms[0].shift.rpartition(' -> ')[2]} {x.symptoms[0].name}" if x.symptoms else "violated"))
    elif incoming is not None and told(incoming):
        lines.append(("fact", told(incoming)))
    if causes:
        number, blamed = causes[0]
        lines.append(("why", f"{number}. {blamed.title.partition(': ')[2]}"))
    known = x.findings.diagnosis
    main = known is not None and (not known.dominant or (causes[:1] and causes[0][0] == 1))
    klass = ("node cause" if main else "node minor") if causes else "node"
    hint = escape("; ".join(line for _, line in lines))
    top = cy - 8.5 * (len(lines) - 1) + 4
    texts = "".join(
        f'<text class="{style}" x="{cx:.0f}" y="{top + 17 * i:.0f}">{shown(_cut(line, LETTERS[style]))}</text>'
        for i, (style, line) in enumerate(lines)
    )
    box = f'x="{cx - NODE_WIDE / 2:.0f}" y="{cy - NODE_HIGH / 2:.0f}" width="{NODE_WIDE}" height="{NODE_HIGH}" rx="9"'
    return f'<g><title>{hint}</title><rect class="{klass}" {box}/>{texts}</g>'


def _cut(line: str, letters: int) -> str:
    return line if len(line) <= letters else line[: letters - 1] + "…"
