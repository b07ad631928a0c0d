# SPDX-License-Identifier: Apache-2.0
"""The agent's tests under other kernels, with the DaemonSet's capabilities, in QEMU without KVM.

Loading, refusals, the life of a request, owners in cgroup v1, and each protocol's program: a few minutes for each kernel. All tests
of the kernel side with ALL_KERNELS=1 in the environment: a quarter of an hour and more for each, and much of a machine's time
beside other tests.
"""

import os
import shlex
import sys

import guest
import pytest

pytestmark = pytest.mark.bpf

# The verifier takes long there: what needs only HTTP's programs is run with no others.
BASIC = ("test_start.py", "test_requests.py")
PROTOCOLS = ("test_refusals.py", "test_verifier.py", "test_protocols.py")
REST = ("test_requests_traps.py", "test_requests_loss.py", "test_requests_keys.py", "test_tcp.py")
# Of the rest, what runs where cgroup v1 is: the oldest kernel is where it is met.
V1 = ("test_requests_keys.py::test_container_in_v1_hierarchies_only",)
# Where a message may be cut is the parser's concern alone: the kernel these tests run on is enough.
NOT_CUT = "not cut and not byte_by_byte and not more_requests"
# Of each protocol one conversation.
ONE_EACH = "not test_protocols or good_and_bad"
if os.environ.get("ALL_KERNELS"):
    RUNS, SECONDS = (("HTTP_ONLY=1", (*BASIC, *REST), ""), ("HTTP_ONLY=", PROTOCOLS, "")), 3600
else:
    RUNS, SECONDS = (("HTTP_ONLY=1", (*BASIC, *V1), NOT_CUT), ("HTTP_ONLY=", PROTOCOLS, ONE_EACH)), 1800


@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize(("kernel", "cgroup"), [("5.10", "hybrid"), ("6.1", "v2")])
def test_kernel(objects, kernel, cgroup):
    runs = [
        ["env", setting, f"APPSTATUS_BPF_OBJECTS={objects}", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
         sys.executable, "-m", "pytest", "-q", "--color=no", "--tb=short", "-p", "no:cacheprovider", "-k", only,
         *(f"tests/e2e/agent/{name}" for name in tests)]
        for setting, tests, only in RUNS
    ]  # fmt: skip
    command = ["sh", "-c", "; ".join([f"{shlex.join(run)} || failed=1" for run in runs] + ["exit $failed"])]
    code, output = guest.run(kernel, cgroup, command, SECONDS, echo=False)
    assert code == 0, f"Debian's {kernel}, cgroup {cgroup}:\n" + "\n".join(output.splitlines()[-60:])
