"""`make test-e2e`: the end-to-end tests in lanes beside each other, because most of their time is the product's own waits.

What would disturb each other is in one lane. A lane's output is printed when it ends (until then it is in logs/e2e-LANE.log of the
cache folder), and every half minute how far each has come.
Exit status 1 if any lane failed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from cluster import binaries

ROOT = Path(__file__).resolve().parents[2]
# By what gives way to what: simulated time can wait longest, an emulated machine longer than the cluster.
LANES = {
    "cluster": (0, ["tests/e2e", "-m", "cluster", "-s"]),
    "servers": (7, ["tests/e2e", "-m", "not cluster", "--ignore=tests/e2e/agent"]),
    "kernel": (3, ["tests/e2e/agent"]),
}
TELL_SECONDS = 30
ENDED = re.compile(r"\b(PASSED|FAILED|SKIPPED|ERROR|XFAIL)\b")


@dataclass
class Lane:
    """A running lane; ``seconds``: how long it took, 0 until it has ended."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @classmethod
    def start(cls, name: str, niceness: int, arguments: list[str]) -> Lane:
        log = binaries.CACHE / "logs" / f"e2e-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = ["nice", "-n", str(niceness), sys.executable, "-m", "pytest", "-v", "--durations=10", *arguments]
        with log.open("wb") as output:
            # A session of its own: the terminal's Ctrl-C reaches this process only, which passes it on once.
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        return cls(name, log, process)

    def ended(self) -> bool:
        """Whether it has ended since the last time this was asked."""
        if self.seconds or self.process.poll() is None:
            return False
        self.seconds = time.monotonic() - self.began
        return True

    def end(self) -> None:
        """Lets the tests tidy up; what does not end by itself is ended with all that it started."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def progress(self) -> str:
        return f"{self.name} {len(ENDED.findall(self.log.read_text(errors='replace')))} tests"


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Before the tests, whose time-outs do not allow for minutes of compiling.
    binaries.ensure(*((*binaries.API_SERVER, "helm") if os.environ.get("KUBECONFIG") else binaries.BINARIES))
    lanes: list[Lane] = []
    told = began = time.monotonic()
    try:
        for name, how in LANES.items():
            lanes.append(Lane.start(name, *how))
        while any(not lane.seconds for lane in lanes):
            for lane in [lane for lane in lanes if lane.ended()]:
                print(f"\n===== lane {lane.name}: exit {lane.process.returncode} after {lane.seconds:.0f} s =====", flush=True)
                print(lane.log.read_text(errors="replace"), flush=True)
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                print(f"{told - began:.0f} s: " + ", ".join(lane.progress() for lane in lanes if not lane.seconds), flush=True)
            time.sleep(0.5)
    except KeyboardInterrupt:
        for lane in lanes:
            lane.end()
        return 130
    for lane in lanes:
        print(f"lane {lane.name}: {'FAILED' if lane.process.returncode else 'passed'} in {lane.seconds:.0f} s")
    return int(any(lane.process.returncode for lane in lanes))


if __name__ == "__main__":
    sys.exit(main())
