# SPDX-License-Identifier: Apache-2.0
"""Real sockets under the real programs. Needs root, a kernel with BTF and built objects (make -C bpf)."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def built() -> Path:
    """The kernel side, built from this checkout, unless APPSTATUS_BPF_OBJECTS names a finished build."""
    if named := os.environ.get("APPSTATUS_BPF_OBJECTS"):
        return Path(named)
    subprocess.run(["make", "-s", "-C", ROOT / "bpf"], check=True, stdout=subprocess.DEVNULL)
    return ROOT / "bpf" / "build"


@pytest.fixture(scope="session")
def objects(built) -> Path:
    if os.geteuid() != 0:
        pytest.fail("these tests load BPF programs: run them as root")
    return built


@pytest.fixture(scope="session")
def load(objects):
    """Kernel.load with the capabilities of the DaemonSet and nothing more.

    HTTP_ONLY=1: a slow machine's time is not spent on verifying programs that most tests do not need.
    """
    from appstatus_agent.kernel import Config, Kernel
    from capabilities import Limited

    def load(**settings):
        if os.environ.get("HTTP_ONLY"):
            settings = {"protocols": ()} | settings
        return Limited(Kernel.load, Config(objects=objects, **settings))

    return load


@pytest.fixture(scope="module")
def kernel(load):
    """Shared by the tests of a module; requests are overdue after 2 s instead of 30."""
    kernel = load(overdue_seconds=2)
    off = {name: feature.reason for name, feature in kernel.features.items() if not feature.on}
    off = {name: reason for name, reason in off.items() if reason != "not asked for"}
    assert not off, f"features that this kernel should have are off: {off}"
    yield kernel
    kernel.close()


@pytest.fixture
def late(load):
    """A kernel side that is loaded only when the test says so."""
    loaded = []

    def now(**settings):
        loaded.append(load(**({"overdue_seconds": 2} | settings)))
        return loaded[-1]

    yield now
    for kernel in loaded:
        kernel.close()


@pytest.fixture(scope="module")
def network():
    """A network namespace of its own for every socket of the module."""
    from talk import own_network

    with own_network():
        yield


@pytest.fixture
def two_cpus():
    """Numbers of two CPUs, for what they do at once; to whichever a test pins this process, it gets all of its own back."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two CPUs")
    yield tuple(sorted(allowed)[:2])
    os.sched_setaffinity(0, allowed)


@pytest.fixture
def owners():
    """Two fresh cgroups, so that counts of other tests and of the machine cannot mix in."""
    from talk import Owners

    owners = Owners()
    yield owners
    owners.remove()
