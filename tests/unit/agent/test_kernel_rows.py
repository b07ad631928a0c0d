"""Pure parts of the kernel side's user half."""

import numpy as np
import pytest
from appstatus_agent.kernel import rows, settings


def test_a_socket_held_by_several_processes_is_one():
    found = np.zeros(4, rows.SOCKET)
    found["inode"], found["pid"] = (8, 7, 8, 7), (1, 2, 3, 4)
    assert rows.distinct(found)["pid"].tolist() == [1, 2]
    assert len(rows.distinct(found[:0])) == 0


@pytest.mark.parametrize("cpus, entries", [(2, 4096), (16, 4096), (128, 32_768)])
def test_entries_of_an_lru_map_suffice_for_what_each_cpu_keeps(cpus, entries):
    assert settings.lru_entries(cpus) == entries
    assert settings.possible_cpus() >= 1
