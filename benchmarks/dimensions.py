#!/usr/bin/env python3
"""Multi-dimensional attribution on generated tables: exact-element F1 on the sets S and L of the RiskLoc paper.

Kalander, RiskLoc: Localization of Multi-dimensional Root Causes by Weighted Risk, 2022 (arXiv 2205.10004), section on synthetic
data. A case is a full table of leaves: values from a Weibull distribution, some of them zero, a normal relative error that falls
on the actual or on the expected value by a coin; then all leaves of each anomalous element get a common relative deviation. S: five
dimensions, 48,000 leaves, 1-3 anomalies of 1-3 elements in any layer. L: four dimensions, 36,000 leaves, 1-5 single leaves.

A third set, "requests", is made like what the operator has: few labels, counts, and cases that are not specific to any label.

An element is found if exactly its labels are named; F1 is taken over the elements of all cases. Case i has seed S + i.

    benchmarks/dimensions.py --cases 100 --seed 1000 --json results.json
"""

import sys

# Beside this file there is one with the name of a module of the standard library.
sys.path.append(sys.path.pop(0))

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from appstatus.diagnosis.dimensions import attribute, failing
from machine import describe

Range = tuple[float, float]
Element = tuple[tuple[str, str], ...]
Anomaly = tuple[tuple[int, ...], list[tuple[int, ...]]]  # dimensions, and values in them for each element


@dataclass(frozen=True)
class Recipe:
    """``sizes``: values of each dimension; ranges are those of a uniform draw for each case (or anomaly)."""

    sizes: tuple[int, ...]
    noise: Range
    severity: Range
    deviation: Range
    anomalies: tuple[int, int]
    elements: tuple[int, int]
    deepest: bool
    shape: Range = (0.5, 1.0)  # of the Weibull distribution
    zeros: Range = (0.0, 0.25)


RECIPES = {
    "S": Recipe((10, 12, 10, 8, 5), (0.0, 0.25), (0.2, 1.0), (0.0, 0.1), (1, 3), (1, 3), deepest=False),
    "L": Recipe((10, 24, 10, 15), (0.0, 0.1), (0.5, 1.0), (0.0, 0.0), (1, 5), (1, 1), deepest=True),
}


@dataclass(frozen=True)
class Case:
    """``labels``: (leaves,) values by name; ``noise``: standard deviation of the relative error."""

    labels: dict[str, np.ndarray]
    actual: np.ndarray
    expected: np.ndarray
    truth: frozenset[Element]
    noise: float


def generate(recipe: Recipe, rng: np.random.Generator) -> Case:
    codes = np.indices(recipe.sizes).reshape(len(recipe.sizes), -1)
    leaves = codes.shape[1]
    noise = rng.uniform(*recipe.noise)
    zeros = rng.uniform(*recipe.zeros)
    actual = 100 * rng.weibull(rng.uniform(*recipe.shape), leaves) * (rng.random(leaves) >= zeros)
    expected = actual * (1 + noise * rng.standard_normal(leaves))
    swapped = rng.random(leaves) < 0.5
    actual, expected = np.where(swapped, expected, actual), np.where(swapped, actual, expected)
    expected = np.maximum(expected, 0.0)
    # Anomalies go the way the sum has gone already, so that the noise cannot hide them.
    up = actual.sum() > expected.sum()
    high, low = (actual, expected) if up else (expected, actual)
    truth: list[Element] = []
    taken: list[Anomaly] = []
    for _ in range(rng.integers(*recipe.anomalies, endpoint=True)):
        depth = len(recipe.sizes) if recipe.deepest else int(rng.integers(1, len(recipe.sizes), endpoint=True))
        count = int(rng.integers(*recipe.elements, endpoint=True))
        severity, deviation = rng.uniform(*recipe.severity) + noise, rng.uniform(*recipe.deviation)
        anomaly = place(recipe.sizes, depth, count, taken, high.reshape(recipe.sizes), rng)
        taken.append(anomaly)
        dimensions, elements = anomaly
        hit = np.zeros(leaves, dtype=bool)
        for element in elements:
            hit |= np.all([codes[d] == value for d, value in zip(dimensions, element, strict=True)], axis=0)
            truth.append(tuple((f"d{d}", str(value)) for d, value in zip(dimensions, element, strict=True)))
        low[hit] = np.maximum(high[hit] * (1 - rng.normal(severity, deviation, int(hit.sum()))), 0.0)
    return Case({f"d{d}": column for d, column in enumerate(codes)}, actual, expected, frozenset(truth), noise)


def place(
    sizes: tuple[int, ...], depth: int, count: int, taken: list[Anomaly], high: np.ndarray, rng: np.random.Generator
) -> Anomaly:
    """Where an anomaly lies: a new set of dimensions (or all), no value that an earlier one has, no leaf that is zero.

    Where so deep a place is not found, all values of a dimension being taken, it lies less deep.
    """
    for attempt in itertools.count():
        size = max(1, depth - attempt // 1000)
        dimensions = tuple(int(d) for d in np.sort(rng.choice(len(sizes), size, replace=False)))
        whole = size == len(sizes)
        if not whole and any(dimensions == other for other, _ in taken):
            continue
        free = [sorted(set(range(sizes[d])) - used(d, taken)) for d in dimensions]
        if not all(free):
            continue
        columns = [rng.choice(values, count) for values in free]
        elements = [tuple(int(v) for v in element) for element in zip(*columns, strict=True)]
        if len(set(elements)) == count and not (whole and any(high[element] == 0 for element in elements)):
            return dimensions, elements
    raise AssertionError


def used(dimension: int, taken: list[Anomaly]) -> set[int]:
    return {element[of.index(dimension)] for of, elements in taken if dimension in of for element in elements}


def measured(recipe: Recipe, rng: np.random.Generator) -> tuple[set[Element], set[Element], float, str]:
    """What is named, what is true, CPU seconds, and what the case is like."""
    case = generate(recipe, rng)
    begin = time.process_time()
    found = attribute(case.labels, case.actual, case.expected, depth=len(recipe.sizes))
    seconds = time.process_time() - begin
    return {finding.labels for finding in found}, set(case.truth), seconds, f"noise {case.noise:.3f}"


def requests(rng: np.random.Generator) -> tuple[set[Element], set[Element], float, str]:
    """The same for counted requests to an application: its pods on nodes in zones, of one version or two, and its clients.

    Elements are the same if their leaves are: an only pod on a node is the node. 3 to 100 % of the requests of an element fail (in
    a tenth of the cases each: of a pod and a client, of all, of none), beside failures that are always there, while the clients'
    volumes change.
    """
    pods, clients = int(rng.integers(2, 13)), int(rng.integers(1, 5))
    node = rng.integers(0, rng.integers(2, 7), pods)
    version = np.arange(pods) < (rng.integers(1, pods // 2 + 1) if rng.random() < 0.5 else 0)
    of_pod, of_client = (grid.ravel() for grid in np.indices((pods, clients)))
    columns = {"instance": of_pod, "node": node[of_pod], "zone": node[of_pod] % 3, "version": version[of_pod], "client": of_client}
    labels = {name: np.char.add(name, column.astype(int).astype(str)) for name, column in columns.items()}
    volume = rng.dirichlet(np.full(clients, 2.0))[of_client] / pods * 10 ** rng.uniform(2.5, 5)
    total = rng.poisson(volume * np.exp(rng.normal(0, 0.5, clients))[of_client])
    before = rng.poisson(volume * rng.uniform(2, 12))
    usual = 10 ** rng.uniform(-4, -1.7)
    kinds = ([], ["all"], ["instance"], ["instance"], ["node"], ["zone"], ["version"], ["client"], ["client", "version"], ["two"])
    kind = kinds[rng.integers(len(kinds))]
    leaf = int(rng.integers(len(of_pod)))
    of_one = [["instance"], ["client"]] if kind == ["two"] else [[name for name in kind if name != "all"]] if kind else []
    faults = [tuple((name, str(labels[name][leaf])) for name in names) for names in of_one]
    ratio = np.full(len(of_pod), usual)
    severity = 10 ** rng.uniform(-1.5, 0)
    for fault in faults:
        ratio[leaves_of(labels, fault)] = max(severity, usual)
    counts = rng.binomial(total, ratio), total, rng.binomial(before, usual), before
    begin = time.process_time()
    found = failing(labels, *counts)
    seconds = time.process_time() - begin
    known: dict[bytes, Element] = {}
    there = total > 0

    def same(element: Element) -> Element:
        return known.setdefault((leaves_of(labels, element) & there).tobytes(), element)

    truth = {same(fault) for fault in faults if not leaves_of(labels, fault)[there].all()}
    about = f"{int(counts[0].sum())} bad of {int(total.sum())} requests to {pods} pods by {clients} clients"
    return {same(finding.labels) for finding in found}, truth, seconds, about


def leaves_of(labels: dict[str, np.ndarray], element: Element) -> np.ndarray:
    some = next(iter(labels.values()))
    return np.all([np.ones(len(some), dtype=bool), *(labels[name] == value for name, value in element)], axis=0)


SETS: dict[str, Callable[[np.random.Generator], tuple[set[Element], set[Element], float, str]]] = {
    **{name: partial(measured, recipe) for name, recipe in RECIPES.items()},
    "requests": requests,
}


def run(cases: int, seed: int) -> dict:
    """By set: exact-element F1, precision, recall, CPU seconds of a case, and what was missed or wrongly named."""
    results = {}
    for name, one in SETS.items():
        hits = wrong = missed = 0
        seconds, misses = [], []
        for number in range(seed, seed + cases):
            named, truth, spent, about = one(np.random.default_rng(number))
            seconds.append(spent)
            hits += len(named & truth)
            wrong += len(named - truth)
            missed += len(truth - named)
            if named != truth:
                lists = {"missed": sorted(map(text, truth - named)), "wrong": sorted(map(text, named - truth))}
                misses.append({"seed": number, "about": about, **lists})
        results[name] = {
            "cases": cases,
            "f1": 2 * hits / max(1, 2 * hits + wrong + missed),
            "precision": hits / max(1, hits + wrong),
            "recall": hits / max(1, hits + missed),
            "median_seconds": statistics.median(seconds),
            "most_seconds": max(seconds),
            "misses": misses,
        }
    return results


def text(element: Element) -> str:
    return " ".join(f"{name}={value}" for name, value in element) or "(all)"


def show(result: dict) -> None:
    print(result["machine"])
    for name, row in result["sets"].items():
        for miss in row["misses"]:
            named = [f"{what} {'; '.join(miss[what])}" for what in ("missed", "wrong") if miss[what]]
            print(f"  {name} seed {miss['seed']}, {miss['about']}: {', '.join(named)}")
    for name, row in result["sets"].items():
        print(
            f"{name}: F1 {row['f1']:.3f} (precision {row['precision']:.3f}, recall {row['recall']:.3f}) in {row['cases']} cases, "
            f"{1000 * row['median_seconds']:.1f} ms of CPU per case (at most {1000 * row['most_seconds']:.0f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, required=True, metavar="N", help="of each set")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first case (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options = parser.parse_args()
    given = {"cases": options.cases, "seed": options.seed}
    result = {"machine": describe(), "when": time.strftime("%F %T"), "options": given, "sets": run(**given)}
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
