#!/usr/bin/env python3
"""How often the diagnosis is right, on recorded incidents and made ones. What judges is the function that the operator calls.

    benchmarks/diagnosis.py                                                  every set that is there, one table
    benchmarks/diagnosis.py --set nezha --data FOLDER                        any folder of the same form
    benchmarks/diagnosis.py --set petshop --misses --json FILE
    benchmarks/diagnosis.py --set scale                                      a made one: what it costs with 500 services
    benchmarks/diagnosis.py --set pages                                      false pages: see benchmarks/pages.py

AC@k: share of incidents whose true place is among the first k causes. both: class and place of the first cause are right; decoy:
number of incidents whose first cause names a change that is not to blame. F1: of the class of the first cause, by kind of fault;
macro is the mean over the kinds of a system, those that no class tells apart being one; apart: as many, each the others' mistake.
Milliseconds: of one diagnosis, CPU time of this process. No constant is set for a set.
"""

import sys

# Beside this file lies one with the name of a module of the standard library.
sys.path.append(sys.path.pop(0))

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pages
from appstatus.diagnosis import diagnose
from appstatus.diagnosis.result import Cause, Diagnosis
from machine import describe
from recorded import ablation, nezha, petshop, rootcausebench, scale, tvdiag
from recorded.case import Case

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "rca"
SETS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "petshop": petshop.cases,
    "nezha": nezha.cases,
    "tvdiag": tvdiag.cases,
    "rootcausebench": rootcausebench.cases,
    "scale": scale.cases,
}


@dataclass(frozen=True)
class Judged:
    case: Case
    found: Diagnosis
    milliseconds: float

    @property
    def rank(self) -> int | None:
        """Place of the truth among the causes, from 1; None where it is not."""
        return next((i for i, cause in enumerate(self.found.causes, 1) if _place(cause, self.case) == self.case.truth), None)

    @property
    def klass(self) -> str:
        return self.found.causes[0].klass if self.found.causes else ""


    @property
    def right(self) -> bool:
        """Class and place of the first cause."""
        return self.rank == 1 and self.klass in self.case.classes

    @property
    def changes(self) -> list[str]:
        """What the first cause's evidence says was changed."""
        return [f.subject for cause in self.found.causes[:1] for f in cause.evidence if f.signal in ("rollout", "earlier-rollout")]

    @property
    def fooled(self) -> bool:
        return any(change in (self.case.decoys or ()) for change in self.changes)


def _place(cause: Cause, case: Case) -> str:
    if case.sufferer and cause.neighbour:
        return cause.path[-2].name
    return cause.instance if case.by_instance and cause.instance else cause.app.name


def judge(case: Case) -> Judged:
    began = time.process_time()
    found = diagnose(case.world, case.checks, case.violator, case.statuses, case.world.now, since=case.since)
    return Judged(case, found, 1000 * (time.process_time() - began))


def accuracy(judged: list[Judged], k: int) -> float:
    return sum(j.rank is not None and j.rank <= k for j in judged) / len(judged)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=[*sorted(SETS), "pages"], help="all without")
    parser.add_argument("--data", type=Path, help="folder of the set (with --set), or of all sets")
    parser.add_argument("--misses", action="store_true", help="list each miss with what was said instead")
    parser.add_argument("--ablation", action="store_true", help="a table of AC@1 / AC@3 without each part of the diagnosis")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    print(describe())
    figures: dict[str, Any] = {}
    if given.set == "pages":
        figures["pages"] = pages.report(given.data or DATA)
    names = [name for name in sorted(SETS) if given.set in (None, name)]
    for name in names:
        folder = (given.data or DATA / name) if given.set else (given.data or DATA) / name
        cases = list(SETS[name](folder))
        judged = [judge(case) for case in cases]
        if not judged:
            print(f"{name}: nothing in {folder}", file=sys.stderr)
            return 1
        figures[name] = tell(name, judged, given.misses)
        if given.ablation:
            figures[name]["without"] = ablate(cases, judged)
    if given.json:
        given.json.write_text(json.dumps({"machine": describe(), "sets": figures}, indent=1))
    return 0


def ablate(cases: list[Case], judged: list[Judged]) -> dict[str, object]:
    """(AC@1, AC@3, class) by part that is left out."""
    found: dict[str, object] = {}
    print(f"  {'with everything':26}       {_told(_figures(judged))}")
    for part, (what, _) in ablation.ABLATIONS.items():
        with ablation.without(part):
            less = [judge(case) for case in cases]
        figures = _figures(less)
        found[part] = figures["ac1"], figures["ac3"], figures["class"]
        print(f"  without {part:18}       {_told(figures)}  {what}")
    return found


def tell(name: str, judged: list[Judged], misses: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {"all": _figures(judged)}
    kinds = sorted({j.case.kind for j in judged})
    if len(kinds) > 1:
        figures |= {kind: _figures([j for j in judged if j.case.kind == kind]) for kind in kinds}
    print(f"\n{name:28} cases  AC@1  AC@3  class  both decoy     ms worst")
    for kind, row in figures.items():
        print(f"  {kind:26} {row['cases']:5} {_told(row)} {row['ms']:6.1f} {row['worst']:5.0f}")
    figures["f1"] = {system: _f1(system, of) for system, of in sorted(_by_system(judged).items())}
    for j in judged:
        if misses and (j.rank != 1 or (j.case.classes and not j.right) or j.fooled):
            causes = ", ".join(f"{_place(c, j.case)} {c.klass} {c.share:.2f}" for c in j.found.causes)
            truth = f"{j.case.truth} {'/'.join(sorted(j.case.classes))}"
            print(f"    {j.case.id}: is {truth}, said {causes or 'nothing'} {' '.join(j.changes)} {j.found.thin}")
    return figures


def _told(row: dict[str, Any]) -> str:
    columns = (("ac1", ".2f"), ("ac3", ".2f"), ("class", ".2f"), ("both", ".2f"), ("decoys", "d"))
    return " ".join(f"{'-' if row[name] is None else format(row[name], form):>5}" for name, form in columns)


def _by_system(judged: list[Judged]) -> dict[str, list[Judged]]:
    """Incidents by system, of kinds (``SYSTEM kind``) that are of one class each: of others it is known for each incident only."""
    classes: dict[str, set[frozenset[str]]] = {}
    for j in judged:
        classes.setdefault(j.case.kind, set()).add(j.case.classes)
    found: dict[str, list[Judged]] = {}
    for j in judged:
        if j.case.classes and len(classes[j.case.kind]) == 1:
            found.setdefault(j.case.kind.rpartition(" ")[0], []).append(j)
    return found


def _f1(system: str, judged: list[Judged]) -> dict[str, object]:
    """Kind -> (precision, recall, F1), with the two means."""
    kinds = {j.case.kind.rpartition(" ")[2]: j.case.classes for j in judged}
    same = {kind: "/".join(other for other in sorted(kinds) if kinds[other] == classes) for kind, classes in kinds.items()}

    def score(true: list[bool], said: list[bool]) -> tuple[float, float, float]:
        hits = sum(t and s for t, s in zip(true, said, strict=True))
        return hits / max(1, sum(said)), hits / sum(true), 2 * hits / (sum(true) + sum(said))

    together, apart = {}, []
    for kind, classes in kinds.items():
        said = [j.klass in classes for j in judged]
        together[same[kind]] = score([j.case.classes == classes for j in judged], said)
        apart.append(score([j.case.kind.rpartition(" ")[2] == kind for j in judged], said)[2])
    macro = statistics.mean(f1 for _, _, f1 in together.values())
    print(f"  {system or 'all'} kinds: macro F1 {macro:.2f} (apart {statistics.mean(apart):.2f})   precision recall   F1")
    for kind, (precision, recall, f1) in sorted(together.items()):
        print(f"    {kind:46}    {precision:5.2f}  {recall:5.2f}  {f1:5.2f}")
    return {"kinds": together, "macro": macro, "apart": statistics.mean(apart)}


def _figures(judged: list[Judged]) -> dict[str, Any]:
    """class: share of the incidents of known class whose first cause is of it, right place or not; both: with the place."""
    known = [j for j in judged if j.case.classes]
    return {
        "cases": len(judged),
        "ac1": accuracy(judged, 1),
        "ac3": accuracy(judged, 3),
        "class": sum(j.klass in j.case.classes for j in known) / len(known) if known else None,
        "both": sum(j.right for j in known) / len(known) if known else None,
        "decoys": sum(j.fooled for j in judged) if any(j.case.decoys is not None for j in judged) else None,
        "ms": statistics.median(j.milliseconds for j in judged),
        "worst": max(j.milliseconds for j in judged),
    }


if __name__ == "__main__":
    sys.exit(main())
