from itertools import product

import numpy as np
import pytest
from appstatus.diagnosis.dimensions import Finding, attribute, failing, sentence
from hypothesis import given, settings
from hypothesis import strategies as st

Leaf = tuple[str, ...]


class Requests:
    """A table of requests: every combination of the labels' values has ``each`` requests, before and now, of which none fails."""

    def __init__(self, each: int = 1000, leaves: list[Leaf] | None = None, **labels: str) -> None:
        self.names = list(labels)
        self.leaves = leaves or list(product(*(values.split() for values in labels.values())))
        self.bad, self.bad_before = np.zeros(len(self.leaves)), np.zeros(len(self.leaves))
        self.total = np.full(len(self.leaves), float(each))
        self.total_before = 10 * self.total

    def at(self, **wanted: str) -> np.ndarray:
        return np.array([all(leaf[self.names.index(n)] == v for n, v in wanted.items()) for leaf in self.leaves])

    def fail(self, ratio: float, **wanted: str) -> "Requests":
        at = self.at(**wanted)
        self.bad[at] = np.maximum(self.bad[at], ratio * self.total[at])
        return self

    def labels(self) -> dict[str, np.ndarray]:
        return {name: np.array([leaf[i] for leaf in self.leaves]) for i, name in enumerate(self.names)}

    def find(self) -> list[Finding]:
        return failing(self.labels(), self.bad, self.total, self.bad_before, self.total_before)

    def named(self) -> list[dict[str, str]]:
        return [dict(finding.labels) for finding in self.find()]


# Six pods of two versions on three nodes; a node is in a zone.
CANARY = [
    ("cart-1", "v1", "node-1", "a"), ("cart-2", "v1", "node-2", "a"), ("cart-3", "v1", "node-3", "b"),
    ("cart-4", "v2", "node-1", "a"), ("cart-5", "v2", "node-2", "a"), ("cart-6", "v2", "node-3", "b"),
]  # fmt: skip


def canary(each: int = 1000) -> Requests:
    return Requests(each, CANARY, instance="", version="", node="", zone="")


def test_one_bad_pod_of_three() -> None:
    table = Requests(instance="cart-1 cart-2 cart-3", client="web app").fail(0.5, instance="cart-2")
    assert table.find() == [Finding((("instance", "cart-2"),), 1.0)]
    assert sentence(table.find()) == "all failures are on instance=cart-2"


def test_failures_that_were_there_before_do_not_count() -> None:
    table = Requests(instance="cart-1 cart-2 cart-3").fail(0.5, instance="cart-2").fail(0.3, instance="cart-3")
    table.bad_before = 0.3 * table.total_before * table.at(instance="cart-3")
    assert table.named() == [{"instance": "cart-2"}]
    assert table.find()[0].share == pytest.approx(1.0, abs=0.01)


def test_one_zone_and_version() -> None:
    table = Requests(zone="a b c", version="v1 v2", client="web app").fail(0.4, zone="b", version="v2")
    assert table.named() == [{"zone": "b", "version": "v2"}]
    assert sentence(table.find()) == "all failures are on version=v2 and zone=b"


def test_one_route_and_method() -> None:
    table = Requests(route="/ /cart /pay /search", method="GET POST PUT", instance="1 2 3").fail(0.1, route="/pay", method="POST")
    table.bad += 1  # a little everywhere
    assert table.named() == [{"route": "/pay", "method": "POST"}]
    assert 0.85 < table.find()[0].share < 0.95


def test_two_at_the_same_time() -> None:
    table = Requests(instance="1 2 3 4 5", route="/ /cart /pay /search").fail(0.3, instance="2").fail(0.9, route="/pay")
    assert table.named() == [{"route": "/pay"}, {"instance": "2"}]
    told = sentence(table.find())
    assert told == "83% of the failures are on route=/pay, 17% on instance=2"


@pytest.mark.parametrize("ratio", [0.001, 0.05, 0.5, 1.0])
def test_what_fails_everywhere_is_not_specific(ratio: float) -> None:
    table = Requests(instance="1 2 3", route="/ /cart", version="v1 v2").fail(ratio)
    assert table.find() == []
    assert sentence([]) == "the failures are not specific to any label"


def test_what_fails_nearly_everywhere_is_not_specific() -> None:
    table = Requests(instance=" ".join(map(str, range(12)))).fail(0.2)
    table.bad[3] = 0
    assert table.find() == []


def test_differences_of_degree_are_not_specific() -> None:
    table = Requests(100_000, instance="1 2 3").fail(0.10).fail(0.18, instance="2")
    assert table.find() == []
    assert table.fail(0.5, instance="2").named() == [{"instance": "2"}]


def test_more_traffic_alone_is_nothing() -> None:
    table = Requests(instance="1 2 3", client="web app batch")
    table.bad_before = 0.02 * table.total_before
    table.total[table.at(client="batch")] *= 50
    table.bad = 0.02 * table.total
    assert table.find() == []
    assert table.fail(0.3, instance="1").named() == [{"instance": "1"}]


def test_traffic_that_moves_to_a_route_that_always_fails_more_is_nothing() -> None:
    table = Requests(instance="1 2 3", route="/ /legacy")
    legacy = table.at(route="/legacy")
    table.bad_before = np.where(legacy, 0.2, 0.001) * table.total_before
    table.total[legacy] *= 20
    table.bad = np.where(legacy, 0.2, 0.001) * table.total
    assert table.find() == []


@pytest.mark.parametrize(
    ("bad", "claimed"),
    [
        ([3, 0, 0], False),  # 1 in 9 that three fall on the same
        ([4, 1, 1], False),
        ([5, 1, 0], False),
        ([6, 0, 0], True),  # 1 in 243
        ([40, 25, 25], False),
        ([60, 10, 20], True),
    ],
)
def test_few_failures_are_not_more_on_a_pod_than_chance_puts_there(bad: list[int], claimed: bool) -> None:
    table = Requests(instance="1 2 3")
    table.bad = np.array(bad, dtype=float)
    assert [f.labels for f in table.find()] == [(("instance", "1"),)] * claimed


def test_chance_alone_seldom_makes_a_claim() -> None:
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(400):
        table = Requests(200, instance="1 2 3 4", client="web app", zone="a b")
        table.bad = rng.multinomial(12, np.full(16, 1 / 16)).astype(float)
        claims += bool(table.find())
    assert claims <= 8  # 1 % are expected at most, thus 4


def test_labels_with_one_value_do_not_make_a_claim_harder() -> None:
    same = dict.fromkeys(("zone", "version", "arch", "team", "os"), "x")
    table = Requests(instance="1 2 3", **same)
    table.bad = np.array([6.0, 0.0, 0.0])
    assert table.named() == [{"instance": "1"}]


def test_clients_that_differ_by_chance_do_not_split_a_pod() -> None:
    """18 of 40 and 8 of 40 are two draws of a third."""
    table = Requests(40, instance="1 2 3", client="web app")
    table.bad = np.array([18.0, 8.0, 0.0, 0.0, 0.0, 0.0])
    assert table.named() == [{"instance": "1"}]


def test_six_failures_on_one_of_two_pods_are_chance() -> None:
    table = Requests(instance="1 2")
    table.bad = np.array([6.0, 0.0])
    assert table.find() == []


def test_the_only_value_says_nothing() -> None:
    assert Requests(instance="cart-1", zone="a").fail(0.5).find() == []
    table = Requests(instance="cart-1", route="/ /cart /pay").fail(0.5, route="/pay")
    assert table.named() == [{"route": "/pay"}]


def test_a_value_without_traffic_does_not_count() -> None:
    table = Requests(instance="cart-1 gone").fail(0.5, instance="cart-1")
    table.total[1] = 0
    assert table.find() == []


def test_the_version_wins_over_its_pods() -> None:
    assert canary().fail(0.3, version="v2").find() == [Finding((("version", "v2"),), 1.0)]


def test_the_node_wins_over_its_pods() -> None:
    """node-3 is all there is of zone b: the data cannot tell."""
    assert canary().fail(0.3, node="node-2").named() == [{"node": "node-2"}]
    assert canary().fail(0.3, node="node-3").find() == [Finding((("zone", "b"),), 1.0, (("node", "node-3"),))]
    assert sentence(canary().fail(0.3, zone="b").find()) == "all failures are on zone=b (the same as node=node-3)"


def test_one_pod_of_the_version_is_not_the_version() -> None:
    assert canary().fail(0.3, instance="cart-5").named() == [{"instance": "cart-5"}]


def test_a_new_version_without_a_past_is_expected_to_be_like_the_old_one() -> None:
    table = canary()
    table.total_before[table.at(version="v2")] = 0
    table.bad_before = 0.01 * table.total_before
    table.bad = 0.01 * table.total
    assert table.find() == []
    assert table.fail(0.2, version="v2").named() == [{"version": "v2"}]


def test_small_parts_are_not_told() -> None:
    table = Requests(10_000, instance="1 2 3 4 5 6").fail(1.0, instance="2").fail(0.03, instance="3")
    assert table.named() == [{"instance": "2"}]
    assert table.fail(0.1, instance="3").named() == [{"instance": "2"}, {"instance": "3"}]


def test_when_most_of_it_is_everywhere_the_little_that_is_not_is_not_told() -> None:
    """One pod of forty fails so much more that it stands apart, but with a quarter of the excess only."""
    table = Requests(10_000, instance=" ".join(map(str, range(40)))).fail(0.01).fail(0.15, instance="7")
    assert table.find() == []
    assert table.fail(0.3, instance="7").named() == [{"instance": "7"}]


def test_requests_that_are_known_by_their_failures_only_count() -> None:
    table = Requests(instance="1 2 3")
    table.total[1], table.bad[1] = 0, 80
    assert table.find() == [Finding((("instance", "2"),), 1.0)]


def test_no_requests_no_findings() -> None:
    assert failing({"instance": []}, [], [], [], []) == []
    assert Requests(0, instance="1 2").find() == []
    assert Requests(instance="1 2 3").find() == []
    assert failing({}, [9.0, 0.0], [9.0, 9.0], [0.0, 0.0], [9.0, 9.0]) == []


def test_measured_values_with_noise_up_and_down() -> None:
    rng = np.random.default_rng(1)
    labels = {name: codes.ravel() for name, codes in zip("abc", np.indices((8, 6, 10)), strict=True)}
    expected = 100 * rng.weibull(0.7, 480)
    actual = expected * (1 + 0.1 * rng.standard_normal(480))
    fallen = actual * np.where((labels["a"] == 3) & (labels["c"] == 7), 0.4, 1.0)
    (down,) = attribute(labels, fallen, expected)
    assert down == Finding((("a", "3"), ("c", "7")), 1.0)
    (up,) = attribute(labels, actual * np.where(labels["b"] == 2, 1.7, 1.0), expected)
    assert up.labels == (("b", "2"),)
    assert attribute(labels, actual, expected) == []
    assert attribute(labels, 1.5 * actual, expected) == []


def noisy(rng: np.random.Generator, noise: float) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Labels, actual, expected."""
    labels = {name: codes.ravel() for name, codes in zip("abc", np.indices((8, 6, 10)), strict=True)}
    actual, expected = 100 * rng.weibull(0.7, 480) * np.ones((2, 1))
    error = 1 + noise * rng.standard_normal(480)
    swapped = rng.random(480) < 0.5
    return labels, actual * np.where(swapped, error, 1), np.maximum(expected * np.where(swapped, 1, error), 0)


def test_the_largest_of_the_noise_is_seldom_taken_for_more() -> None:
    found = [attribute(*noisy(np.random.default_rng(seed), 0.15)) for seed in range(40)]
    assert sum(map(bool, found)) <= 3


def test_a_leaf_stands_out_though_all_have_moved_a_little() -> None:
    labels, actual, expected = noisy(np.random.default_rng(5), 0.1)
    actual *= 1.03
    actual[(labels["a"] == 3) & (labels["b"] == 2) & (labels["c"] == 7)] *= 4
    assert [f.labels for f in attribute(labels, actual, expected)] == [(("a", "3"), ("b", "2"), ("c", "7"))]


@st.composite
def tables(draw: st.DrawFn) -> tuple[Requests, dict[str, str]]:
    """A fault in one element of a random table over an uneven traffic, and the failures that there are always."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [int(rng.integers(3, 6)) for _ in range(int(rng.integers(1, 4)))]
    table = Requests(**{f"label{i}": " ".join(f"v{v}" for v in range(size)) for i, size in enumerate(sizes)})
    table.total = rng.integers(500, 2000, len(table.leaves)).astype(float)
    table.total_before = 10.0 * rng.integers(500, 2000, len(table.leaves))
    usual = draw(st.sampled_from([0.0, 0.001, 0.02]))
    table.bad_before = rng.binomial(table.total_before.astype(int), usual).astype(float)
    table.bad = rng.binomial(table.total.astype(int), usual).astype(float)
    names = sorted(rng.choice(table.names, int(rng.integers(1, len(sizes) + 1)), replace=False).tolist())
    fault = {name: f"v{rng.integers(sizes[table.names.index(name)])}" for name in names}
    return table.fail(draw(st.sampled_from([0.3, 0.5, 1.0])), **fault), fault


@settings(max_examples=80, deadline=None)
@given(tables())
def test_a_fault_in_one_element_is_named_exactly(made: tuple[Requests, dict[str, str]]) -> None:
    table, fault = made
    assert table.named() == [fault]


@settings(max_examples=60, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_leaves_and_labels_does_not_matter(made: tuple[Requests, dict[str, str]], random: object) -> None:
    table, _ = made
    before = table.find()
    order = list(range(len(table.leaves)))
    random.shuffle(order)  # type: ignore[attr-defined]
    labels = {name: table.labels()[name][order] for name in reversed(table.names)}
    columns = (table.bad, table.total, table.bad_before, table.total_before)
    after = failing(labels, *(column[order] for column in columns))
    assert [(f.labels, f.also) for f in after] == [(f.labels, f.also) for f in before]
    assert [f.share for f in after] == pytest.approx([f.share for f in before])


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(2, 1000))
def test_more_of_the_same_says_no_less(made: tuple[Requests, dict[str, str]], factor: int) -> None:
    table, _ = made
    before = table.find()
    for column in ("bad", "total", "bad_before", "total_before"):
        setattr(table, column, factor * getattr(table, column))
    after = {f.labels: f.share for f in table.find()}
    for finding in before:
        assert after[finding.labels] == pytest.approx(finding.share, abs=0.02)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), *[st.integers(0, 50)] * 4), min_size=0, max_size=20))
def test_any_counts_have_findings_that_add_up(rows: list[tuple[int, ...]]) -> None:
    columns = np.array(rows, dtype=float).reshape(-1, 6).T
    labels = {"a": columns[0].astype(int), "b": columns[1].astype(int)}
    found = failing(labels, columns[2], columns[2] + columns[3], columns[4], columns[4] + columns[5])
    assert all(0.0 < f.share <= 1.0 for f in found)
    assert sentence(found)
    assert [f.share for f in found] == sorted((f.share for f in found), reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 7.0, 1e6]))
def test_the_unit_does_not_matter(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    labels = {name: codes.ravel() for name, codes in zip("abc", np.indices((5, 6, 7)), strict=True)}
    expected = 100 * rng.weibull(0.7, 210)
    actual = expected * (1 + 0.05 * rng.standard_normal(210))
    actual[(labels["a"] == rng.integers(5)) & (labels["b"] == rng.integers(6))] *= 3
    one, other = (attribute(labels, unit * actual, unit * expected) for unit in (1.0, unit))
    assert one and [f.labels for f in one] == [f.labels for f in other]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), *[st.floats(0, 1e6)] * 2), min_size=1, max_size=20))
def test_any_values_have_findings_that_add_up(rows: list[tuple[float, ...]]) -> None:
    columns = np.array(rows, dtype=float).T
    found = attribute({"a": columns[0].astype(int), "b": columns[1].astype(int)}, columns[2], columns[3])
    assert all(f.share > 0.0 for f in found)
    assert not found or sum(f.share for f in found) == pytest.approx(1.0)
