from dataclasses import dataclass, field

import pytest
from appstatus.api.fields import Fields
from appstatus.api.names import EXTERNAL, AppKey, ObjectRef
from appstatus.api.selection import Directory, Requirement, Selector, Target, TargetRef, matches, parse_selector


@dataclass
class Workload:
    key: AppKey
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    created: float | None = None
    ref: ObjectRef | None = None


@pytest.mark.parametrize(
    ("glob", "text", "expected"),
    [
        ("shop", "shop", True),
        ("shop", "shop2", False),
        ("sh*", "shop", True),
        ("*", "", True),
        ("sh?p", "shop", True),
        ("sh?p", "shp", False),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("legacy:*", "legacy:8080", True),
    ],
)
def test_patterns(glob: str, text: str, expected: bool) -> None:
    assert matches(glob, text) is expected


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_selectors_are_those_of_kubernetes(selector, labels, expected) -> None:
    problems = []
    assert parse_selector(Fields(selector, "spec.selector", problems)).matches(labels) is expected
    assert problems == []


def found(target: Target, *workloads: Workload) -> list[AppKey]:
    return Directory(workloads).find(target)


def test_a_reference_needs_kind_name_and_namespace() -> None:
    keys = [
        ("shop", "Deployment", "cart"),
        ("shop", "StatefulSet", "cart"),
        ("shop", "Deployment", "cart2"),
        ("x", "Deployment", "cart"),
    ]
    workloads = [Workload(AppKey(*key)) for key in keys]
    assert found(Target("shop", ref=TargetRef("Deployment", "cart")), *workloads) == [AppKey("shop", "Deployment", "cart")]


def test_versions_of_one_api_group_are_the_same_object() -> None:
    rollout = Workload(AppKey("shop", "Rollout", "cart"), ref=ObjectRef("argoproj.io/v1alpha1", "Rollout", "shop", "cart", ""))
    assert found(Target("shop", ref=TargetRef("Rollout", "cart", "argoproj.io/v1beta1")), rollout)
    assert not found(Target("shop", ref=TargetRef("Rollout", "cart", "example.com/v1")), rollout)


def test_neither_means_the_whole_namespace() -> None:
    cart, aside = Workload(AppKey("shop", "Deployment", "cart")), Workload(AppKey("other", "Deployment", "cart"))
    assert found(Target("shop"), cart, aside, Workload(AppKey("", EXTERNAL, "shop"))) == [cart.key]


def test_a_selector_is_for_the_workloads_own_labels() -> None:
    cart = Workload(AppKey("shop", "Deployment", "cart"), {"app": "cart"})
    plain = Workload(AppKey("shop", "Deployment", "plain"))
    selector = Selector((Requirement("app", "In", ("cart",)),))
    assert found(Target("shop", selector=selector), cart, plain) == [cart.key]
