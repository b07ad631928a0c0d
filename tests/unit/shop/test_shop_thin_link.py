"""Which process's network namespace is entered, and what is done to its link."""

import pytest
from shopsvc.thinlink import NotPossible, command, process_of

POD = "0c4b-11"


def test_a_process_is_found_by_its_cgroup_whatever_the_layout(tmp_path):
    systemd = "0::/kubepods-pod7_22.slice/cri-containerd-f500f0eee108.scope"
    for number, text in (("12", "0::/system.slice"), ("34", f"5:cpu:/kubepods/pod{POD}/f5\n0::/"), ("self", POD), ("78", systemd)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cgroup").write_text(text)
    (tmp_path / "56").mkdir()  # has ended
    assert process_of(POD, tmp_path) == 34
    assert process_of("7-22", tmp_path) == 78
    with pytest.raises(NotPossible, match="no process of pod 9-99"):
        process_of("9-99", tmp_path)


def test_nothing_of_a_limit_is_left_after_the_limit_zero():
    assert command(16.0)[:7] == ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf"] and "16kbit" in command(16.0)
    assert command(0.0) == ["tc", "qdisc", "delete", "dev", "eth0", "root"]
