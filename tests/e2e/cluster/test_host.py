"""Whose cluster is on this machine."""

from pathlib import Path

import pytest

from . import host


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.processes, "running", lambda owner: [1])


def held_by(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    monkeypatch.setattr(host, "_holder", lambda: {"checkout": str(checkout)})


def test_the_cluster_of_another_checkout_is_left_alone(
    running: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held_by(monkeypatch, tmp_path)
    with pytest.raises(host.HeldError, match=f"make -C {tmp_path} cluster-down"):
        host.check_free(tmp_path / "kubelet")


def test_the_cluster_of_a_checkout_that_was_deleted_is_anybodys(
    running: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held_by(monkeypatch, tmp_path / "gone")
    host.check_free(tmp_path / "kubelet")
