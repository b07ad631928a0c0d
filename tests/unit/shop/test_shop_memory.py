"""The limit and the use of a container's memory, for both kinds of cgroups."""

import pytest
from shopsvc.memory import limit, used


def test_cgroup_v1(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("167772160\n")
    (tmp_path / "memory" / "memory.stat").write_text("cache 4096\nrss 1\ntotal_cache 4096\ntotal_rss 40960\n")
    assert (limit(tmp_path), used(tmp_path)) == (167772160, 40960)


def test_cgroup_v2(tmp_path):
    (tmp_path / "memory.max").write_text("167772160\n")
    (tmp_path / "memory.stat").write_text("anon 40960\nfile 4096\n")
    assert (limit(tmp_path), used(tmp_path)) == (167772160, 40960)


@pytest.mark.parametrize(("name", "text"), [("memory.max", "max\n"), ("memory/memory.limit_in_bytes", "9223372036854771712\n")])
def test_without_a_limit_there_is_no_share_of_it(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="no memory limit"):
        limit(tmp_path)
