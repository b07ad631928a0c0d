"""Where and how the disk limit is written, for both kinds of cgroups."""

import pytest
from shopsvc.slowdisk import NotPossible, limit_file, line, whole_disk

CONTAINER = "f500f0eee108"


def test_cgroup_v1_limits_in_the_blkio_hierarchy(tmp_path):
    folder = tmp_path / "blkio" / "kubepods" / "burstable" / "pod1" / CONTAINER
    folder.mkdir(parents=True)
    (folder / "blkio.throttle.write_iops_device").touch()
    (tmp_path / "cpu" / "kubepods" / CONTAINER).mkdir(parents=True)
    file = limit_file(CONTAINER, tmp_path)
    assert file == folder / "blkio.throttle.write_iops_device"
    assert line(file, "254:0", 8) == "254:0 8"
    assert line(file, "254:0", 0) == "254:0 0"


def test_cgroup_v2_limits_in_io_max_of_the_container_not_of_what_it_nests(tmp_path):
    scope = tmp_path / "kubepods.slice" / f"cri-containerd-{CONTAINER}.scope"
    (scope / f"nested-{CONTAINER}").mkdir(parents=True)
    (scope / "io.max").touch()
    file = limit_file(CONTAINER, tmp_path)
    assert file == scope / "io.max"
    assert line(file, "254:0", 8) == "254:0 wiops=8"
    assert line(file, "254:0", 0) == "254:0 wiops=max"


def test_an_unknown_container_and_a_missing_controller_are_said(tmp_path):
    with pytest.raises(NotPossible, match="no cgroup of container"):
        limit_file(CONTAINER, tmp_path)
    (tmp_path / "kubepods" / CONTAINER).mkdir(parents=True)
    with pytest.raises(NotPossible, match="no blkio or io controller"):
        limit_file(CONTAINER, tmp_path)


def test_a_partition_is_limited_by_its_disk(tmp_path):
    partition = tmp_path / "devices" / "vda" / "vda1"
    partition.mkdir(parents=True)
    (partition / "partition").write_text("1\n")
    (partition.parent / "dev").write_text("254:0\n")
    (partition.parent / "partition-table").touch()
    numbers = tmp_path / "block"
    numbers.mkdir()
    (numbers / "254:1").symlink_to(partition)
    (numbers / "254:0").symlink_to(partition.parent)
    assert whole_disk("254:1", numbers) == "254:0"
    assert whole_disk("254:0", numbers) == "254:0"
    with pytest.raises(NotPossible, match="no block device"):
        whole_disk("0:42", numbers)
