# SPDX-License-Identifier: Apache-2.0
"""What the node refuses turns off what needs it, and says so; nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from appstatus_agent.kernel import Config, Kernel, KernelError, rows
from capabilities import DAEMONSET, Limited, kernel_is_at_least

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("network")]


def with_capabilities(objects, *names: str, **settings):
    extra = () if kernel_is_at_least(5, 11) else ("SYS_RESOURCE",)
    return Limited(Kernel.load, Config(objects=objects, **settings), names=(*names, *extra))


def test_all_features_with_the_capabilities_of_the_daemonset(objects):
    kernel = with_capabilities(objects, *DAEMONSET)
    assert {name: feature.reason for name, feature in kernel.features.items() if not feature.on} == {}
    kernel.close()


def test_without_net_admin_only_the_tap_is_off(objects):
    kernel = with_capabilities(objects, "BPF", "PERFMON", protocols=())
    off = {name: feature.reason for name, feature in kernel.features.items() if not feature.on}
    assert set(off) == {"requests", "dns", "overdue", *rows.PROTOCOLS[2:]}
    assert all("NET_ADMIN" in reason for reason in off.values()), off
    assert len(kernel.read_requests()) == 0
    kernel.close()


def test_without_perfmon_the_sentence_names_it(objects):
    with pytest.raises(KernelError, match="PERFMON"):
        with_capabilities(objects, "BPF", "NET_ADMIN", protocols=())


def test_without_any_capability_one_sentence_says_what_is_missing(objects):
    with pytest.raises(KernelError, match="BPF, PERFMON and NET_ADMIN"):
        with_capabilities(objects, protocols=())


@pytest.mark.skipif(kernel_is_at_least(5, 11), reason="from 5.11 on maps are charged to the pod, not to the memlock limit")
def test_memlock_limit_is_named_where_it_is_the_reason(objects):
    """In a process of its own: libbpf has raised the limit of this one."""
    code = (
        "from pathlib import Path; from capabilities import *; from appstatus_agent.kernel import *\n"
        f"Limited(Kernel.load, Config(objects=Path({str(objects.resolve())!r})), names=DAEMONSET)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert run.returncode == 1 and "KernelError" in run.stderr and "memlock" in run.stderr, run.stderr[-2000:]


def test_objects_that_were_not_built(tmp_path):
    with pytest.raises(KernelError, match="make -C bpf"):
        Kernel.load(Config(objects=tmp_path))
