# SPDX-License-Identifier: Apache-2.0
"""How much work the kernel's verifier has with each program: what it costs to start, and how far from being refused.

verifier_steps.json has the numbers seen, by kernel (major.minor; another kernel is compared with the next older one).
APPSTATUS_UPDATE_GOLDEN=1 writes those of the running kernel.
"""

import ctypes
import json
import os
import re
from pathlib import Path

import pytest
from appstatus_agent.kernel import libbpf
from fake_node import needs_root

pytestmark = [pytest.mark.bpf, pytest.mark.skipif(needs_root(), reason="loads BPF programs: needs root")]

SEEN = Path(__file__).with_name("verifier_steps.json")
GROWTH = 1.2
STATISTICS = 4  # BPF_LOG_STATS
LEAST = 5_000  # steps that are worth a word


def steps_of(path: Path) -> dict[str, int]:
    """Of an object's programs; without those that the kernel refuses."""
    lib, refused = libbpf._lib, set()
    while True:
        loaded = lib.bpf_object__open_file(str(path).encode(), None)
        assert loaded, path
        logs, program = {}, lib.bpf_object__next_program(loaded, None)
        while program:
            name = lib.bpf_program__name(program).decode()
            if name in refused:
                lib.bpf_program__set_autoload(program, False)
            else:
                logs[name] = ctypes.create_string_buffer(1 << 16)
                lib.bpf_program__set_log_level(program, STATISTICS)
                lib.bpf_program__set_log_buf(program, logs[name], len(logs[name]))
            program = lib.bpf_object__next_program(loaded, program)
        code = lib.bpf_object__load(loaded)
        lib.bpf_object__close(loaded)
        found = {name: re.search(rb"processed (\d+) insns", log.value) for name, log in logs.items() if log.value}
        if code == 0:
            return {name: int(match[1]) for name, match in found.items() if match}
        assert found, f"{path.name} does not load: {os.strerror(-code)}"
        refused.add(list(found)[-1])


def test_no_program_grows_unseen(objects):
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    steps = {name: n for path in sorted(objects.glob("*.bpf.o")) for name, n in steps_of(path).items()}
    seen = json.loads(SEEN.read_text())
    if os.environ.get("APPSTATUS_UPDATE_GOLDEN"):
        seen[".".join(map(str, release))] = dict(sorted(steps.items()))
        SEEN.write_text(json.dumps(seen, indent=1) + "\n")
    kernels = sorted(tuple(int(part) for part in kernel.split(".")) for kernel in seen)
    nearest = max((kernel for kernel in kernels if kernel <= release), default=kernels[0])
    before = seen[".".join(map(str, nearest))]
    grown = {name: f"{before.get(name)} -> {n}" for name, n in steps.items() if n > max(LEAST, GROWTH * before.get(name, LEAST))}
    assert not grown, f"more steps than on {nearest}; if that must be, APPSTATUS_UPDATE_GOLDEN=1 writes them down"
