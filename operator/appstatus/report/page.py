"""An explanation as one HTML page: nothing is loaded, nothing runs, light and dark as the reader's system is."""

from collections.abc import Iterable, Sequence
from html import escape

from appstatus.api.conditions import format_time
from appstatus.api.names import AppKey
from appstatus.diagnosis import wording
from appstatus.inspections.table import BY_ID
from appstatus.report import text
from appstatus.report.explanation import Blamed, Explanation, Measured, percent
from appstatus.report.style import STYLE
from appstatus.report.svg import chart, graph, shown

# Should anything ever slip through the escaping, the browser still neither runs nor loads it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(x: Explanation) -> str:
    """ASCII only, so that it survives every terminal and file on its way. Control characters in names are no part of HTML."""
    parts = [_head(x), _verdict(x)]
    if x.causes:
        parts.append(f'<div class="columns">{_way(x)}<section class="card">{_causes(x)}</section></div>')
        parts += [_evidence(x, number, blamed) for number, blamed in enumerate(x.causes, 1)]
    lists = [_dismissed(x), _timeline(x)]
    parts.append(f'<div class="columns">{"".join(filter(None, lists))}</div>' if any(lists) else "")
    parts += [_failing(x), _slos(x), _foot(x)]
    body = "\n".join(filter(None, parts))
    html = f'<!doctype html>\n<html lang="en">\n{body}\n</main>\n</body>\n</html>\n'
    printable = "".join(c if c.isprintable() or c == "\n" else "?" for c in html)
    return printable.encode("ascii", "xmlcharrefreplace").decode()


def _head(x: Explanation) -> str:
    return (
        f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(x.title)}: {escape(x.findings.health)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>"
    )


def _verdict(x: Explanation) -> str:
    now, since = x.findings.world.now, ""
    if x.onset is not None:
        since = f' <span class="since">since {wording.clock(x.onset)} UTC ({text.ago(now - x.onset)})</span>'
    sentences = "".join(
        f"<p{' class=' + chr(34) + 'lead' + chr(34) if number == 0 else ''}>{shown(sentence)}</p>"
        for number, sentence in enumerate(x.verdict)
    )
    todo = f'<p class="todo"><b>Do first</b> {escape(x.todo)}</p>' if x.todo else ""
    link = x.runbook.startswith(("https://", "http://"))
    runbook = f'<p>Runbook: <a href="{escape(x.runbook)}" rel="noreferrer">{escape(x.runbook)}</a></p>' if link else ""
    charts = "".join(_measured(x, fact) for fact in x.symptoms)
    return (
        f'<header class="card"><h1>{escape(x.title)}</h1><p><span class="health {escape(x.findings.health.lower())}">'
        f'{escape(x.findings.health)}</span>{since}</p>{sentences}{todo}{runbook}<div class="charts big">{charts}</div></header>'
    )


def _measured(x: Explanation, fact: Measured) -> str:
    meaning = f'<p class="dim">{escape(fact.meaning)}</p>' if fact.meaning else ""
    picture = chart(fact, x.findings.world.times, x.onset) if fact.values is not None else ""
    before, arrow, during = fact.shift.partition(" -> ")
    shift = f"{escape(before)} <span class='dim'>&rarr;</span> <b>{escape(during)}</b>" if arrow else f"<b>{escape(before)}</b>"
    return f'<div class="fact"><p class="name">{shown(fact.name)} <span class="shift">{shift}</span></p>{picture}{meaning}</div>'


def _way(x: Explanation) -> str:
    if not x.links:
        return ""
    return f'<section class="card way"><h2>The way of the pain</h2><div class="scroll">{graph(x)}</div></section>'


def _causes(x: Explanation) -> str:
    known = x.findings.diagnosis
    title = "Cause" if known is not None and known.dominant else "No dominant cause; the best there are"
    rows = []
    for number, blamed in enumerate(x.causes, 1):
        place = f'<br><span class="dim">{escape(blamed.place)}</span>' if blamed.place else ""
        first = f'<span class="dim">First: {escape(blamed.todo)}</span>'
        width = f"{100 * blamed.cause.share:.0f}%"
        bar = f'<div class="bar"><i style="width:{width}"></i></div>{percent(blamed.cause.share)}'
        rows.append((str(number), f"<b>{escape(blamed.title)}</b>{place}<br>{shown(blamed.share)}<br>{first}", bar))
    return f"<h2>{title}</h2>{_table(('', 'Where and what', 'Share of the pain'), rows)}"


def _evidence(x: Explanation, number: int, blamed: Blamed) -> str:
    if not blamed.facts:
        return ""
    facts = sorted(blamed.facts, key=lambda fact: fact.values is None)
    charts = "".join(_measured(x, fact) for fact in facts)
    known = x.findings.diagnosis
    head, charts = f"Evidence for {number}. {escape(blamed.title)}", f'<div class="charts">{charts}</div>'
    if number > 1 and known is not None and known.dominant:
        return f'<details class="card"><summary>{head}</summary>{charts}</details>'
    return f'<section class="card"><h2>{head}</h2>{charts}</section>'


def _dismissed(x: Explanation) -> str:
    if not x.dismissed:
        return ""
    rows = [(escape(who), shown(why)) for who, _, why in (each.partition(": ") for each in x.dismissed)]
    table = _table(("Application", "Why it is not the cause"), rows)
    return f'<section class="card"><h2>Looked at and dismissed</h2>{table}</section>'


def _timeline(x: Explanation) -> str:
    if not x.happenings and not x.note:
        return ""
    entries = []
    for each in x.happenings:
        where = x.shown(each.where) if isinstance(each.where, AppKey) else f"node {each.where}"
        aside = "" if each.on_path else ' <span class="dim">(not on the way)</span>'
        entries.append((each.at, "" if each.on_path else "aside", f"<b>{escape(where)}</b> {shown(each.what)}{aside}"))
    if x.onset is not None:
        entries.append((x.onset, "begin", f"<b>onset</b> {escape(x.findings.app.name)} begins to hurt its users"))
    rows = "".join(
        f'<li class="{style}"><time datetime="{format_time(at)}">{wording.clock(at)}</time><span>{what}</span></li>'
        for at, style, what in sorted(entries, key=lambda entry: entry[0])
    )
    note = f'<p class="note dim">{x.note}</p>' if x.note else ""
    return f'<section class="card"><h2>Timeline (UTC)</h2><ol class="timeline">{rows}</ol>{note}</section>'


def _failing(x: Explanation) -> str:
    rows = []
    for each in x.failing:
        check = each.check
        since = wording.clock(check.since) if check.since is not None else ""
        where = f'<br><span class="dim">{escape(text.names(check.instances, 3))}</span>' if check.instances else ""
        evidence = f"{shown(check.evidence)}<br>" if check.evidence else ""
        told = f'{evidence}<span class="dim">{escape(each.todo)}</span>'
        name = f'{escape(BY_ID[check.id].title)}<br><span class="dim">{escape(check.id)}</span>'
        rows.append((f"{escape(x.shown(each.app))}{where}", name, escape(each.value), since, told))
    if not rows:
        return ""
    names = ("Application", "Check", "Value", "Since", "What to know")
    return f'<section class="card wide"><h2>Failing checks</h2>{_table(names, rows)}</section>'


def _slos(x: Explanation) -> str:
    if not x.slos:
        return ""
    fields = ("name", "indicator", "objective", "sli", "budget", "burn", "state")
    rows = [[escape(str(slo[field])) for field in fields] for slo in x.slos]
    names = ("SLO", "Indicator", "Objective", "SLI", "Budget", "Burn", "State")
    return f'<section class="card wide"><h2>SLOs</h2>{_table(names, rows)}</section>'


def _foot(x: Explanation) -> str:
    until = format_time(x.findings.world.now)
    return f"<footer>Judged as of {until} from the hour before; shares are parts of the users' extra failures or waiting.</footer>"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """``rows``: HTML, already escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for row in rows:
        cells = (f'<td data-name="{escape(name)}">{cell}</td>' for name, cell in zip(names, row, strict=True))
        body += f"<tr>{''.join(cells)}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
