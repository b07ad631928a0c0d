"""What the excess has in common: labels (instance, node, zone, version, route, client, ...) that tell bad traffic from good.

A table has a row for each leaf, a combination of labels that occurs. An element is a set of labels; its leaves are those that carry
them all. Each leaf deviates by x from what is expected, which counts by its weight w (its requests, or 1). With W, m and s the
weight, the mean and the spread of the leaves of an element, s without what noise makes of it,

    score = W m^2 / (s^2 + (LIKE m)^2)

so leaves that agree to a quarter of their mean need not agree better. A part of what is bad has the same m and s as all of it and
less W; what holds good leaves too, so that only a share q is bad, has W q / (1 - q) at most. So the score wants purity and coverage
in one, and the element with the highest is what the bad leaves have in common. It is taken unless chance does as much; then its
leaves are removed, and the next one is looked for. The element without labels, the whole table, takes part: where it is the best,
the excess, or what is left of it, is not specific to any label.

The search is greedy as in Adtributor (Bhagwan et al., NSDI 2014) and RiskLoc (Kalander, arXiv 2205.10004), which partitions by the
noise of the side that has no anomaly.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appstatus.model.series import F64

# A third of the traffic stands apart from the rest if it fails more than twice as often, a half if 1.7 times. More would hide three
# bad ones of five behind what they belong to; less means little, since the scores of small elements differ by more.
LIKE = 0.25
# At most so likely it is that chance alone makes a finding.
CHANCE = 0.01
# Parts of the excess: a finding of less is not told, and none is if all together are less.
LEAST_SHARE = 0.05
SPECIFIC = 0.3
# What stands out of the noise is so much larger than all noise on the other side. Of two draws of 20,000 normal values the maxima
# differ by 10 % (their standard deviation is 0.29, their mean 4.1); relative deviations have heavier tails.
BEYOND = 1.4


@dataclass(frozen=True, slots=True)
class Finding:
    """labels: (name, value) in the order of names; share: of the excess, 0..1.

    also  single labels that exactly the same leaves carry: no data can tell which of them it is
    """

    labels: tuple[tuple[str, str], ...]
    share: float
    also: tuple[tuple[str, str], ...] = ()


def failing(
    labels: Mapping[str, ArrayLike],
    bad: ArrayLike,
    total: ArrayLike,
    bad_before: ArrayLike,
    total_before: ArrayLike,
    depth: int = 3,
) -> list[Finding]:
    """Where a larger part of the requests is bad than before, best first; empty: not specific to any label, or not sure.

    labels      (leaves,) strings or integers by name; a finding has at most ``depth`` of them
    bad, total, bad_before, total_before    (leaves,) requests in the incident and in the reference; bad is a part of total

    Expected is the ratio of before in the traffic of now, so that mere volume is no excess; a leaf without a past is expected to be
    like all. By chance each of n bad requests falls on an element with the probability that its traffic (and its past) gives it; as
    many as it has, or more, fall on it with exp(-n KL) at most (Chernoff 1952; if all do, probability^n exactly), times the number
    of elements.
    """
    now, traffic, past, past_traffic = (np.asarray(c, dtype=float) for c in (bad, total, bad_before, total_before))
    traffic, past_traffic = np.maximum(traffic, now), np.maximum(past_traffic, past)
    usual = past.sum() / max(1.0, past_traffic.sum())
    expected = traffic * (past + usual) / (past_traffic + 1.0)
    excess = now - expected
    whole = float(excess.sum())
    if whole <= 0:
        return []

    def noise(sums: _Sums) -> F64:
        """Binomial."""
        ratio = _ratio(sums.more[0], sums.weight)
        return ratio * (1.0 - ratio)

    def certainty(sums: _Sums) -> F64:
        n, due = float(sums.more[0, 0]), float(sums.more[1, 0])
        # Of what is not due anyway each element would have its part of the traffic.
        usual = sums.more[1] + max(0.0, n - due) * sums.weight / max(float(sums.weight[0]), 1.0)
        nats = n * _divergence(sums.more[0] / max(n, 1e-9), usual / max(n, due, 1e-9))
        nats[0] = n * np.log(n / max(due, 1e-9)) - (n - due) if n > due else 0.0  # all of it: more than Poisson's law has
        return np.where(sums.first >= LEAST_SHARE * whole, nats, 0.0)

    table = _Table(labels, _ratio(excess, traffic), traffic, depth, (now, expected))
    taken = [(element, float(excess[rows].sum()) / whole) for element, rows in table.search(noise, certainty, table.candidates())]
    found = [table.finding(element, min(1.0, share)) for element, share in taken]
    return _best_first(found) if sum(f.share for f in found) >= SPECIFIC else []


def attribute(labels: Mapping[str, ArrayLike], actual: ArrayLike, expected: ArrayLike, depth: int = 3) -> list[Finding]:
    """Where measured values deviate, best first; the shares are of what all findings explain.

    labels              (leaves,) strings or integers by name; a finding has at most ``depth`` of them
    actual, expected    (leaves,) of any unit, additive; whichever way their sums differ is explained

    The deviation is relative: d = 2 (actual - expected) / (actual + expected) (Squeeze, Li et al., ISSRE 2019). How much of it is
    noise is told by the leaves that deviate the other way.
    """
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    excess = actual - expected if actual.sum() >= expected.sum() else expected - actual
    size = np.abs(actual) + np.abs(expected)
    d = np.clip(2 * _ratio(excess, size), -2.0, 2.0)
    other = -d[d < 0]
    variance = max(float(np.mean(other**2)) if len(other) else 0.0, 1e-9)

    def gauss(sums: _Sums) -> F64:
        """Signed nats: a sum that is z standard deviations off occurs with exp(-z^2 / 2) at most. A mean within the noise of a
        leaf is none: where all is a little different."""
        off = _ratio(sums.first**2, variance * sums.weight)
        return np.where(off >= sums.weight, np.sign(sums.first) * off / 2, 0.0)

    table = _Table(labels, d, (size > 0).astype(float), depth)
    needed = table.candidates()
    for layer in np.unique(table.depth):
        same = table.depth == layer
        needed[same] = np.maximum(needed[same], BEYOND**2 * -float(gauss(table.sums)[same].min()))
    search = table.search(lambda sums: np.full_like(sums.weight, variance), gauss, needed)
    taken = [(element, float(np.maximum(excess[rows], 0.0).sum())) for element, rows in search]
    whole = sum(part for _, part in taken)
    return _best_first([table.finding(element, part / whole) for element, part in taken])


def sentence(found: Sequence[Finding], what: str = "failures") -> str:
    """``all failures are on version=v2 (the same as instance=cart-1)``, ``60% of the failures are on ..., 30% on ...``."""
    if not found:
        return f"the {what} are not specific to any label"
    first, *others = (f"on {_named(f.labels)}{_same(f)}" for f in found)
    told = [f"{_part(found[0].share, what)} are {first}"]
    return ", ".join([*told, *(f"{100 * f.share:.0f}% {where}" for f, where in zip(found[1:], others, strict=True))])


def _part(share: float, what: str) -> str:
    return f"all {what}" if share >= 0.995 else f"{100 * share:.0f}% of the {what}"


def _named(labels: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{name}={value}" for name, value in labels)


def _same(finding: Finding) -> str:
    return f" (the same as {', '.join(_named([label]) for label in finding.also)})" if finding.also else ""


def _best_first(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda f: (-f.share, f.labels))


def _ratio(part: F64, whole: F64) -> F64:
    """Of what is not negative; 0 where both are 0."""
    return part / np.maximum(whole, 1e-300)


def _divergence(p: F64, q: F64) -> F64:
    """Kullback-Leibler divergence of coins, nats, 0 where p <= q."""
    q = np.clip(q, 1e-12, 1 - 1e-12)
    p = np.clip(p, q, 1.0)
    return p * np.log(p / q) + (1 - p) * np.log(np.maximum(1 - p, 1e-12) / (1 - q))


class _Sums(NamedTuple):
    """(elements,) sums over leaves, of 1, w, w x, w x^2; more: (columns, elements)."""

    leaves: F64
    weight: F64
    first: F64
    second: F64
    more: F64


class _Table:
    """Leaves with a weight, and all elements that they make, numbered: 0 is the whole, fewer labels and fewer values come first."""

    def __init__(
        self, labels: Mapping[str, ArrayLike], x: F64, w: F64, depth: int, more: tuple[F64, ...] = ()
    ) -> None:
        """``more``: further columns (leaves,) to be summed."""
        self._rows = np.flatnonzero(w > 0)
        columns = {name: np.unique(np.asarray(labels[name])[self._rows], return_inverse=True) for name in sorted(labels)}
        # One value alone says nothing.
        self._columns = [(name, values, codes) for name, (values, codes) in columns.items() if len(values) > 1]
        sizes = [len(values) for _, values, _ in self._columns]
        self._combinations = sorted(
            (c for n in range(min(depth, len(sizes)) + 1) for c in itertools.combinations(range(len(sizes)), n)),
            key=lambda c: (len(c), np.prod([sizes[d] for d in c]), c),
        )
        self._ids = [self._numbered(c, sizes) for c in self._combinations]  # (leaves,) each: which of its elements a leaf is in
        self._starts = np.cumsum([0, *(int(ids.max(initial=0)) + 1 for ids in self._ids)])
        self.depth = np.repeat([len(c) for c in self._combinations], np.diff(self._starts))
        w, x = w[self._rows], x[self._rows]
        self._leaves = np.array([np.ones_like(w), w, w * x, w * x**2, *(column[self._rows] for column in more)])
        self._sums = self._sum(np.arange(len(w)))

    @property
    def sums(self) -> _Sums:
        leaves, weight, first, second, *_ = self._sums
        return _Sums(leaves, weight, first, second, self._sums[4:])

    def _numbered(self, combination: tuple[int, ...], sizes: list[int]) -> NDArray[np.intp]:
        ids, size = np.zeros(len(self._rows), dtype=np.intp), 1
        for d in combination:
            ids, size = ids * sizes[d] + self._columns[d][2], size * sizes[d]
            if size > 2 * len(ids):  # most combinations do not occur
                known, ids = np.unique(ids, return_inverse=True)
                size = len(known)
        return ids

    def _sum(self, leaves: NDArray[np.intp]) -> F64:
        """(columns, elements)."""
        result = np.empty((len(self._leaves), self._starts[-1]))
        columns = self._leaves[:, leaves]
        for ids, start, end in zip(self._ids, self._starts, self._starts[1:], strict=False):
            elements = ids[leaves]
            for column, into in zip(columns, result, strict=True):
                into[start:end] = np.bincount(elements, column, end - start)
        return result

    def candidates(self) -> F64:
        """(elements,) nats that one must be worth: by how many there are that have as many labels or fewer."""
        occurring = np.cumsum(np.bincount(self.depth, self.sums.leaves > 0), dtype=float)
        needed: F64 = np.log(np.maximum(occurring, 1.0) / CHANCE)[self.depth]
        return needed

    def _score(self, noise: F64) -> F64:
        sums = self.sums
        mean = np.maximum(_ratio(sums.first, sums.weight), 0.0)
        # Beyond what noise alone makes: of n leaves, n - 1 times its variance, and less than two standard deviations more (chi^2).
        free = np.maximum(sums.leaves - 1, 0.0)
        sampled = noise * _ratio(free + 2 * np.sqrt(2 * free), sums.weight)
        spread = np.maximum(_ratio(sums.second, sums.weight) - mean**2 - sampled, 0.0)
        return _ratio(sums.weight * mean**2, spread + (LIKE * mean) ** 2)

    def search(
        self, noise: Callable[[_Sums], F64], certainty: Callable[[_Sums], F64], needed: F64
    ) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Elements and the leaves that each explains, in the order in which they are taken.

        noise       (elements,) variance of x that noise alone makes where the weight is 1
        certainty   (elements,) nats of an element whose leaves have these sums; needed (elements,) is what it takes
        """
        left = np.ones(len(self._rows), dtype=bool)
        while left.any():
            score = self._score(noise(self.sums))
            score[certainty(self.sums) < needed] = 0.0
            best = int(score.argmax())
            if best == 0:  # the whole, or none
                return
            taken = np.flatnonzero(left & self._within(best))
            self._sums -= self._sum(taken)
            self._sums[:, self.sums.leaves < 0.5] = 0.0  # not what rounding leaves
            left[taken] = False
            yield best, self._rows[taken]

    def _combination(self, element: int) -> int:
        return int(np.searchsorted(self._starts, element, side="right")) - 1

    def _within(self, element: int) -> NDArray[np.bool_]:
        at = self._combination(element)
        return np.asarray(self._ids[at] == element - self._starts[at])

    def finding(self, element: int, share: float) -> Finding:
        within = self._within(element)
        dimensions = self._combinations[self._combination(element)]
        labels = [(name, str(values[codes[within][0]])) for name, values, codes in self._columns]
        also = [
            label
            for d, (label, (_, _, codes)) in enumerate(zip(labels, self._columns, strict=True))
            if d not in dimensions and ((codes == codes[within][0]) == within).all()
        ]
        return Finding(tuple(labels[d] for d in dimensions), share, tuple(also))
