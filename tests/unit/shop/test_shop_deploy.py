"""What the shop's commands ask of the cluster, in which order; the cluster itself is in tests/e2e/test_shop.py."""

import deploy
import kubectl
import pytest


@pytest.fixture
def asked(monkeypatch):
    """Every kubectl command, none of which is run."""
    commands = []

    def run(*arguments, **_):
        commands.append(arguments)
        return ""

    monkeypatch.setattr(kubectl, "run", run)
    return commands


def test_down_removes_the_fault_switchs_helper_then_the_users_then_the_shop(asked):
    deploy.down()
    assert [command[:3] for command in asked] == [
        ("delete", "namespace", "shop-faults"),
        ("delete", "deployment", "load"),
        ("delete", "namespace", "shop"),
    ]
