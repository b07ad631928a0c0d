"""Limits what the network link of one pod can send, through its network namespace: longer queues, then loss.

    python3 -m shopsvc.thinlink POD_UID KBIT_PER_SECOND      (0: no limit)

Runs in the fault switch's helper pod, which sees the node's processes. A token bucket (tc-tbf) whose queue holds 200 ms: what comes
when it is full is lost. So round trips take longer and segments are sent again, as on any link that is too thin.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUEUE = "200ms"
BURST = "1600"  # bytes: one full packet


class NotPossible(Exception):
    """The node cannot do it; the message says what was looked at."""


def process_of(pod: str, proc: Path = Path("/proc")) -> int:
    """A process of the pod; the path of its cgroup holds the pod's UID, with underscores where systemd made it."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            cgroups = (entry / "cgroup").read_text()
        except OSError:  # it has ended
            continue
        if pod in cgroups or pod.replace("-", "_") in cgroups:
            return int(entry.name)
    raise NotPossible(f"no process of pod {pod} under {proc}")


def command(kbit: float) -> list[str]:
    if kbit:
        shape = ["tbf", "rate", f"{kbit:g}kbit", "burst", BURST, "latency", QUEUE]
        return ["tc", "qdisc", "replace", "dev", "eth0", "root", *shape]
    return ["tc", "qdisc", "delete", "dev", "eth0", "root"]


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    pod, kbit = sys.argv[1], float(sys.argv[2])
    try:
        inside = ["nsenter", f"--net=/proc/{process_of(pod)}/ns/net"]
        # There may be nothing to take away, in a pod that was made anew: what counts is what the link has afterwards.
        done = subprocess.run([*inside, *command(kbit)], capture_output=True, text=True)
        shown = subprocess.run([*inside, "tc", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True).stdout
    except (NotPossible, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if ("tbf" in shown) != bool(kbit):
        print(f"error: {' '.join(command(kbit))}: {done.stderr.strip()}; the link has {shown.strip()}", file=sys.stderr)
        return 1
    print(shown.strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
