"""``appstatus explain``: what a tired person reads, as text, as a page and as data."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.diagnosis import wording
from appstatus.inspections.result import CheckResult
from appstatus.model.facts import Change
from appstatus.report import page, terminal
from appstatus.report.data import document
from appstatus.report.explanation import Explanation, Findings, explain
from appstatus.report.incident import diagnosis
from appstatus.report.svg import graph
from appstatus.report.terminal import Look, sparkline
from callgraph import Service, simulate
from cases import met, objective, status
from outage import CHECKOUT, FRONT, POSTGRES, explained, shop, violated
from worlds import NOW, ONSET, application, container, instance, key, series, traffic, world

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\"'&"


def text(x: Explanation, **look: object) -> str:
    return terminal.render(x, Look(**({"width": 130} | look)))


def thin() -> Explanation:
    """Six callees of which none has a third of it."""
    names = [f"svc-{i}" for i in range(6)]
    services = {"front": Service(calls=dict.fromkeys(names, 1))} | {name: Service(slow=0.05) for name in names}
    return explained(simulate(services, "front"))


def calm(health: str = "Healthy", **changed: object) -> Explanation:
    statuses = [met(objective=replace(met().objective, app=FRONT))]
    return explained(shop(slow=None), statuses=statuses, health=health)


def test_the_answer_stands_first_in_the_words_of_the_event():
    x = explained()
    lines = text(x).splitlines()
    assert lines[0] == "shop/front.deployment: Violated since 07:55 UTC (5m)"
    told = " ".join(line.strip() for line in lines[1:4])
    assert told.startswith("14% of requests to front slower than 250ms for 5m (objective 99.5%, burning 28x). Cause: ")
    assert wording.line(x.findings.diagnosis) in told
    assert "  Do first: Raise or remove the CPU limit." in lines


def test_the_way_has_what_each_call_carries():
    lines = text(explained()).splitlines()
    way = lines[lines.index("From the users' side to the cause (each share is of the whole)") + 1 :][:4]
    assert [line.split("  <-")[0].split("  latency")[0].rstrip() for line in way] == [
        "  front.deployment",
        "  └─ 100%  checkout.deployment",
        "     └─ 92%  postgres.deployment",
        "     └─ 8%  cart.deployment",
    ]
    assert way[2].endswith("<- cause 1")


def test_evidence_has_values_and_a_picture_with_the_onset():
    line = next(each for each in text(explained()).splitlines() if "postgres-0 throttled" in each and "│" in each)
    assert re.search(r"0\.002\d*s/s -> 0\.\d+s/s +▁{29}│[▅▆▇█]{3} +its CPU limit holds it back", line), line


def test_changes_restarts_and_decoys_are_told():
    shown = text(explained())
    assert "  shop/mail.deployment: changed 1 min before, but carries none of the excess" in shown
    timeline = shown.split("Timeline (UTC)\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0:2] for line in timeline] == [
        ["07:40", "cart.deployment"], ["07:54", "mail.deployment"], ["07:55", "ONSET"], ["07:56", "postgres.deployment"],
    ]  # fmt: skip
    assert "(not on the way)" in timeline[1] and "restarted" in timeline[3]


def test_that_nothing_changed_is_told_only_where_it_is_known():
    made = simulate({"front": Service(calls={"db": 1}), "db": Service(slow=0.3)}, "front")
    assert "begins to hurt its users\n  No change, restart or lost instance near the onset.\n" in text(explained(made))
    for app in made.applications.values():
        app.ref = None
    x = explained(made)
    assert "  Changes are not known: no cluster was asked.\n" in text(x) and x.note in Page(page.render(x)).text
    assert "near the onset" not in text(explained()) + text(calm())


def test_failing_checks_of_everybody_on_the_way_are_listed():
    failing = {(each.app.status_name, each.check.id) for each in explained().failing}
    assert {("postgres.deployment", "CPUThrottling"), ("checkout.deployment", "DependencyLatency")} <= failing
    assert not any(check.startswith("SLO") for _, check in failing), "they have a table of their own"


def test_no_dominant_cause_names_the_best_three_and_nothing_to_do_first():
    shown = text(thin())
    assert "Cause: no dominant cause; best: svc-" in " ".join(shown.split())
    assert "No cause explains 30% or more of it" in shown
    assert "Do first" not in shown
    assert len(re.findall(r"^  [123]\. svc-", shown, re.MULTILINE)) == 3


def test_thin_evidence_says_why():
    made = shop()
    made.missing["requests_out"] = "timed out"
    shown = " ".join(text(explained(made)).split())
    assert "no dominant cause (query requests_out failed)" in shown and "The evidence is thin" in shown


def test_who_is_only_suspected_has_no_share():
    front = application(FRONT, served=traffic({"2xx": series(20.0)}, series(0.01, 0.4)))
    busy = application(key("ledger"), [instance("ledger-0", containers=[container(cpu_usage=series(0.1, 0.9))])])
    x = explained(world([front, busy]))
    shown = " ".join(text(x).split())
    assert "no dominant cause (nobody's calls are known); best: ledger needs more CPU than before" in shown
    assert "?  ledger.deployment whether it is called is not known <- cause 1".replace("  ", " ") in shown
    assert "suspected by its evidence; its share is not known" in shown
    assert ">?</text>" in page.render(x)


def test_a_share_that_nothing_explains_is_not_called_small():
    made = shop()
    found = explained(made).findings
    causes = tuple(replace(each, klass="unknown") for each in found.diagnosis.causes)
    x = explain(replace(found, diagnosis=replace(found.diagnosis, causes=causes, dominant=False)))
    assert "Where the largest share lies nothing explains it" in " ".join(text(x).split())


def test_met_slos_have_no_cause_but_failing_checks():
    x = calm("Warning")
    bad = CheckResult("CPUThrottling", "cpu", "fail", 0.4, 0.1, NOW - 300, ("front-0",))
    shown = text(explain(replace(x.findings, checks={FRONT: [bad]})))
    assert shown.startswith("shop/front.deployment: Warning\n  Every SLO of front is met; so there is no cause to look for.\n")
    assert "  1 check fails: CPUThrottling." in shown
    assert "front.deployment CPUThrottling 0.4s/s (threshold 0.1s/s) since 07:55 on front-0: Raise or remove" in shown
    assert "Causes" not in shown and "ONSET" not in shown


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"missing": "Prometheus has no data of any node agent"}, "Nothing can be said of front: Prometheus has no data"),
        ({"statuses": []}, "front has no SLO"),
        ({"statuses": [status("NoData", reason="no requests")]}, "SLO checkout-latency of front: no requests."),
        ({"statuses": [met(), status("Exhausted")]}, "SLO met: availability; so"),
        ({"statuses": violated(), "diagnosis": None}, "Cause: not found."),
        ({"checks": {FRONT: [CheckResult("CPUNode", "cpu", "unknown")]}}, "Without data, so nothing is known of: CPUNode."),
    ],
)
def test_what_is_not_known_is_said(changed, told):
    x = explain(replace(calm().findings, **changed))
    assert told in " ".join(text(x).split())
    assert told in re.sub(r"\s+", " ", page.render(x))


def test_ascii_terminals_get_ascii_and_others_their_colours():
    x = explained()
    assert text(x, unicode=False).isascii()
    assert "____|" in text(x, unicode=False)
    assert "\x1b[" not in text(x) and "\x1b[1;31mshop/front.deployment" in text(x, colour=True)


@pytest.mark.parametrize(
    ("values", "mark", "shown"),
    [
        (np.zeros(80), None, "▁" * 32),
        (np.full(40, np.nan), None, " " * 32),
        (np.r_[np.zeros(20), np.ones(20)], 20, "▁" * 16 + "│" + "█" * 16),
        (np.r_[np.full(20, np.nan), np.ones(20)], 20, " " * 16 + "│" + "█" * 16),
        (np.arange(8.0), 0, "▁▂▃▄▅▆▇█"),
        (np.r_[np.zeros(399), 9.0], 399, "▁" * 32 + "│█"),
        (np.array([-1.0, 1.0]), None, "▁█"),
    ],
)
def test_sparklines(values, mark, shown):
    assert sparkline(values, mark, True) == shown


def test_long_names_have_lines_of_their_own_and_the_page_cuts_them_in_the_graph():
    name = "recommendation-service-with-a-name-that-goes-on-and-on-and-on"
    x = explained(simulate({"front": Service(calls={name: 1}), name: Service(slow=0.3)}, "front"))
    lines = text(x, width=100).splitlines()
    at = lines.index(f"     front->{name} latency")
    assert lines[at + 1].startswith("       10.5ms -> 30")
    assert f">{name[:24]}…</text>" in graph(x)


def test_an_application_in_another_namespace_is_named_with_it():
    x = explained()
    away = AppKey("billing", "Deployment", "ledger")
    assert (x.shown(away), x.shown(CHECKOUT)) == ("billing/ledger.deployment", "checkout.deployment")
    assert x.shown(AppKey("", EXTERNAL, "api.example.com:443")) == "api.example.com:443"


# -- the page ----------------------------------------------------------------------------------------------------------------------

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Fails on tags that do not match; collects what would be loaded or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.loads: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.loads += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("make", [explained, thin, calm])
def test_the_page_is_whole_and_needs_nothing_else(make):
    html = page.render(make())
    read = Page(html)
    assert html.isascii() and html.startswith("<!doctype html>")
    assert "http://" not in html and "https://" not in html and "url(" not in html and "@import" not in html
    assert not read.loads and not {"script", "link", "img", "iframe", "object"} & read.tags.keys()
    assert "prefers-color-scheme: dark" in html


def test_the_page_shows_all_that_the_text_shows():
    x = explained()
    read = Page(page.render(x))
    for part in (*x.dismissed[0].split(": "), x.todo, "onset front begins", "Violated", "CPU throttling", "front-latency"):
        assert part in read.text, part
    drawn = sum(fact.values is not None for blamed in x.causes for fact in blamed.facts) + len(x.symptoms)
    assert read.tags["svg"] == drawn + 1, "a chart for each fact with a series, and the graph"


def test_the_runbook_is_a_link_and_nothing_but_a_web_address_is():
    for url, links in (("https://runbooks.example.com/front?a=1&b=2", 1), ("javascript:alert(1)", 0)):
        x = explain(replace(explained().findings, statuses=[status(objective=objective(app=FRONT, runbook_url=url))]))
        assert Page(page.render(x)).tags.get("a", 0) == links
        assert f"  Runbook: {url}" in text(x)


def test_names_of_other_people_can_do_nothing():
    made = shop()
    app = made.applications[key("mail")]
    app.changes = (Change(ONSET - 60, "rollout", HOSTILE),)
    pod = instance(HOSTILE, HOSTILE, containers=[container(HOSTILE, cpu_throttled=series(0.0, 0.6), restarts=series(0.0, 1.0))])
    made.applications[POSTGRES].instances = {HOSTILE: pod}
    bad = CheckResult("CPUThrottling", "cpu", "fail", 0.4, 0.1, NOW - 300, (HOSTILE,), HOSTILE)
    x = explained(made)
    x = explain(replace(x.findings, called=HOSTILE, checks={FRONT: [bad]}))
    read = Page(page.render(x))
    assert HOSTILE.replace("\x1b", "?") in read.text, "it is shown as what it is"
    assert not read.loads and "img" not in read.tags
    assert "\x1b" not in text(x) and "onerror" in text(x)


@pytest.mark.parametrize(
    "calls",
    [
        {"front": ["a", "b", "db"], "a": ["db"], "b": ["c"], "c": ["db"]},
        {"front": ["a"], "a": ["db"]},
        {"front": ["db"]},
        {"front": ["a", "b"], "a": ["b", "db"], "b": ["db"]},
    ],
)
def test_the_graph_lays_callers_above_callees_and_nothing_over_another(calls):
    services = {name: Service(calls=dict.fromkeys(callees, 1)) for name, callees in calls.items()} | {"db": Service(slow=0.3)}
    drawn = graph(explained(simulate(services, "front")))
    boxes = re.findall(r'<title>(\w+)\.deployment[^<]*</title><rect class="node[^"]*" x="(\S+)" y="(\S+)" width="(\d+)"', drawn)
    places = {name: (float(x), float(y), float(wide)) for name, x, y, wide in boxes}
    assert services.keys() == places.keys()
    for caller, callees in calls.items():
        assert all(places[caller][1] < places[callee][1] for callee in callees)
    for (x1, y1, wide), (x2, y2, _) in ((a, b) for a in places.values() for b in places.values() if a is not b):
        assert y1 != y2 or abs(x1 - x2) >= wide
    whole = float(re.search(r'width="(\d+)"', drawn)[1])
    assert all(x >= 0 and x + wide <= whole for x, _, wide in places.values())


def test_calls_in_a_circle_can_be_drawn():
    x = explained()
    back = replace(x.links[0], start=POSTGRES, end=CHECKOUT)
    assert graph(replace(x, links=(*x.links, back))).count('class="edge') == len(x.links) + 1


# -- the data ----------------------------------------------------------------------------------------------------------------------


def test_the_data_has_the_diagnosis_as_the_event_has_it():
    x = explained()
    made = document(x)
    assert made["schema"] == "appstatus.dev/explanation/v1"
    assert made["diagnosis"] == diagnosis(x.findings.diagnosis)
    assert (made["application"], made["health"], made["todo"]) == ("shop/front.deployment", "Violated", x.todo)
    assert made["propagation"][0] == {
        "from": "shop/front.deployment", "to": "shop/checkout.deployment", "share": 1.0, "how": "calls",
    }  # fmt: skip
    assert {entry["application"] for entry in made["failing"]} >= {"shop/postgres.deployment"}
    assert "diagnosis" not in document(calm())


def test_an_unknown_application_of_the_world_does_not_break_it():
    x = explain(Findings(key("gone"), "Unknown", shop(), [], {}))
    assert "gone has no SLO" in text(x) and Page(page.render(x))
