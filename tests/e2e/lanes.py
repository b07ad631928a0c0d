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


@dataclass(frozen=True)
class Plan:
    """`after`: the lanes that have to end first, passed or not: all of any of these groups. `niceness`: what gives way to what, the
    cluster's processes and pods having 0; simulated time can wait longest, an emulated machine longer than the cluster.
    """

    name: str
    niceness: int
    arguments: tuple[str, ...]
    after: tuple[set[str], ...] = (set(),)


# What is promised of the product is not judged on two CPUs that two shops and other lanes fight for; and some of all faults strike
# the whole node.
SHOP_AFTER: tuple[set[str], ...] = ({"cluster", "product"},)
if not os.environ.get("ALL_FAULTS"):
    BESIDE_PRODUCT_AFTER = {"cluster", "operator"}
    if len(os.sched_getaffinity(0)) < 4:
        BESIDE_PRODUCT_AFTER |= {"servers", "kernel"}
    SHOP_AFTER += (BESIDE_PRODUCT_AFTER,)
STALE = "tests/e2e/cluster/test_stale_state.py"
PRODUCT = "tests/e2e/test_product.py"
OPERATOR = "tests/e2e/operator/test_operator_process.py"
PLANS = (
    Plan("cluster", 0, (STALE,)),  # pulls the cluster away and puts it up again
    Plan("product", 0, (PRODUCT, "-s"), after=({"cluster"},)),
    Plan("shop", 0, ("tests/e2e", "-m", "cluster", f"--ignore={STALE}", f"--ignore={PRODUCT}"), after=SHOP_AFTER),
    Plan("operator", 8, (OPERATOR,)),
    Plan("servers", 10, ("tests/e2e", "-m", "not cluster", "--ignore=tests/e2e/agent", f"--ignore={OPERATOR}")),
    Plan("kernel", 8, ("tests/e2e/agent",)),
)
assert {name for plan in PLANS for group in plan.after for name in group} <= {plan.name for plan in PLANS}
TELL_SECONDS = 30
END_SECONDS = 120  # a shop is being removed, a virtual machine shut down
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
    def start(cls, plan: Plan) -> Lane:
        log = binaries.CACHE / "logs" / f"e2e-{plan.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        pytest = [sys.executable, "-m", "pytest", "-v", "--durations=10"]
        command = ["nice", "-n", str(plan.niceness), *pytest, *plan.arguments]
        with log.open("wb") as output:
            # A session of its own: the terminal's Ctrl-C reaches this process only, which passes it on once.
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        # A kernel that groups processes by session lets their own niceness count among themselves only (man 7 sched).
        group = Path("/proc", str(process.pid), "autogroup")
        if group.exists():
            group.write_text(str(plan.niceness))
        return cls(plan.name, log, process)

    def ended(self) -> bool:
        """Whether it has ended since the last time this was asked."""
        if self.seconds or self.process.poll() is None:
            return False
        self.seconds = time.monotonic() - self.began
        return True

    def interrupt(self) -> None:
        """Lets the tests tidy up."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float) -> None:
        """What does not end by itself is ended with all that it started."""
        try:
            self.process.wait(seconds)
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
    waiting = list(PLANS)
    over: set[str] = set()  # names of lanes
    told = began = time.monotonic()
    try:
        while waiting or any(not lane.seconds for lane in lanes):
            for plan in [plan for plan in waiting if any(group <= over for group in plan.after)]:
                lanes.append(Lane.start(plan))
                waiting.remove(plan)
            for lane in [lane for lane in lanes if lane.ended()]:
                over.add(lane.name)
                print(f"\n===== lane {lane.name}: exit {lane.process.returncode} after {lane.seconds:.0f} s =====", flush=True)
                print(lane.log.read_text(errors="replace"), flush=True)
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                states = [lane.progress() for lane in lanes if not lane.seconds]
                states += [
                    f"{plan.name} waits for {' or for '.join(' and '.join(sorted(group - over)) for group in plan.after)}"
                    for plan in waiting
                ]
                print(f"{told - began:.0f} s: {', '.join(states)}", flush=True)
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 130
    finally:
        for lane in lanes:
            lane.interrupt()
        last = time.monotonic() + END_SECONDS
        for lane in lanes:
            lane.end(max(0.0, last - time.monotonic()))
    for lane in lanes:
        print(f"lane {lane.name}: {'FAILED' if lane.process.returncode else 'passed'} in {lane.seconds:.0f} s")
    return int(any(lane.process.returncode for lane in lanes))


if __name__ == "__main__":
    sys.exit(main())
