# SPDX-License-Identifier: Apache-2.0
"""The same request, TCP and refusal tests under other kernels, with the DaemonSet's capabilities (QEMU, about 4 min each)."""

import os
import sys

import guest
import pytest

pytestmark = pytest.mark.bpf

TESTS = ("test_requests.py", "test_requests_traps.py", "test_requests_keys.py", "test_tcp.py", "test_start.py", "test_refusals.py")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kernel", "cgroup"), [("5.10", "v2"), ("6.1", "hybrid")])
def test_kernel(objects, kernel, cgroup):
    command = [
        "env", f"APPSTATUS_BPF_OBJECTS={objects}", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
        sys.executable, "-m", "pytest", "-q", "--color=no", "--tb=short", "-p", "no:cacheprovider",
        *(f"tests/e2e/agent/{name}" for name in TESTS),
    ]  # fmt: skip
    code, output = guest.run(kernel, cgroup, command, 1100, echo=False)
    assert code == 0, f"Debian's {kernel}, cgroup {cgroup}:\n" + "\n".join(output.splitlines()[-60:])
