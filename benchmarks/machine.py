"""The machine that a benchmark runs on, and what a process has used of it."""

import os
import platform
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def describe() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{os.cpu_count()} x {model}, {total:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def user_and_system(pid: int) -> tuple[float, float]:
    """CPU seconds of a process in user mode and in the kernel, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS
