"""Pods without a cluster: cgroups and log files as the kubelet and containerd lay them out, and the agent beside them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# Deeper than the real /kubepods, whose unknown pods a kubelet on this machine would remove.
ROOT = "appstatus-test"
# Exactly what the DaemonSet grants.
CAPABILITIES = "-all,+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search"


def hierarchies() -> list[Path]:
    """Mount points of all hierarchies: v2 alone, or v1 ones and `unified`."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [CGROUPS / name for name in ("unified", "cpu", "cpuacct", "memory") if (CGROUPS / name / "cgroup.procs").exists()]


@dataclass
class Container:
    """One life of a container in a fake pod."""

    path: str
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        return [mount / self.path for mount in hierarchies()]

    def run(self, *command: str, **options) -> subprocess.Popen:
        """A process that is in the container's cgroups before its program starts, as runc does it."""

        def join() -> None:
            for folder in self.folders:
                (folder / "cgroup.procs").write_text("0")

        process = subprocess.Popen(command, preexec_fn=join, **options)
        self.processes.append(process)
        return process

    def set(self, v2: tuple[str, str], *v1: tuple[str, str]) -> None:
        """Write a limit: (file, value) on v2, or the files of v1."""
        for folder in self.folders:
            for name, value in (v2, *v1):
                if (folder / name).exists():
                    (folder / name).write_text(value)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for folder in self.folders:
            _remove(folder)


class Node:
    """Fake pods of one test, and their names under `logs`."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._containers: list[Container] = []
        self._own = f"{ROOT}/{uuid.uuid4().hex[:8]}"
        self._group = f"{self._own}/kubepods/burstable"
        for name in ("pods", "containers"):
            (logs / name).mkdir(parents=True)

    def container(self, pod: str, name: str, *, uid: str = "", attempt: int = 0) -> tuple[Container, Callable[[], None]]:
        """Cgroups of a container of pod shop/`pod`; the function makes the symlink, which the kubelet does after the start."""
        uid = uid or str(uuid.uuid4())
        runtime_id = uuid.uuid4().hex * 2
        container = Container(f"{self._group}/pod{uid}/{runtime_id}")
        self._containers.append(container)
        for folder in container.folders:
            folder.mkdir(parents=True)
            if folder.is_relative_to(CGROUPS) and hierarchies() == [CGROUPS]:
                for parent in list(folder.parents)[: len(Path(container.path).parts)][::-1]:
                    (parent / "cgroup.subtree_control").write_text("+cpu +memory")
        log_folder = self.logs / "pods" / f"shop_{pod}_{uid}" / name
        log_folder.mkdir(parents=True, exist_ok=True)

        def tell_name() -> None:
            (self.logs / "containers" / f"{pod}_shop_{name}-{runtime_id}.log").symlink_to(log_folder / f"{attempt}.log")

        return container, tell_name

    def close(self) -> None:
        for container in self._containers:
            container.end()
        for mount in hierarchies():
            for folder in sorted((mount / self._own).glob("**/"), reverse=True):
                _remove(folder)
            with contextlib.suppress(OSError):  # another test's node may be there
                (mount / ROOT).rmdir()


def _remove(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # a killed process has not left yet
            time.sleep(0.1)
        else:
            return


class Agent:
    """`appstatus-agent` as the DaemonSet runs it: its capabilities and no others."""

    def __init__(self, logs: Path, port: int, log: Path, capabilities: str = CAPABILITIES, inside: Sequence[str] = ()) -> None:
        """`inside` is put before the command line (`nsenter …`); its page is then fetched from there too."""
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._inside = list(inside)
        program = Path(sys.executable).parent / "appstatus-agent"
        command = [*inside, "setpriv", "--inh-caps=-all", f"--bounding-set={capabilities}", str(program)]
        began = time.monotonic()
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{port}", "--log-root", str(logs)], stderr=output, stdout=output
            )
        self.wait_for(lambda page: "node_info" in page, seconds=20, what="the first metric")
        self.start_seconds = time.monotonic() - began
        self.wait_for(lambda page: page and "being loaded" not in page, seconds=120, what="end of loading")

    def page(self) -> str:
        if self._inside:
            fetch = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
            done = subprocess.run(
                [*self._inside, sys.executable, "-c", fetch, f"{self.url}/metrics"], capture_output=True, text=True
            )
            return done.stdout
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def samples(self, metric: str, **labels: str) -> list[float]:
        """Values of a metric's series with these labels."""
        return find(self.page(), metric, **labels)

    def wait_for(self, condition: Callable[[str], bool], seconds: float, what: str) -> float:
        """Seconds until the page meets the condition. AssertionError with the agent's log when it does not in time."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError):
                if condition(self.page()):
                    return time.monotonic() - began
            assert self.process.poll() is None, f"the agent ended:\n{self.log.read_text()}"
            assert time.monotonic() - began < seconds, f"no {what} within {seconds} s; the agent said:\n{self.log.read_text()}"
            time.sleep(0.1)

    def stop(self) -> int:
        """Ask it to end, as the kubelet does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def find(page: str, metric: str, **labels: str) -> list[float]:
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    return [
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith(metric + "{") and all(label in line for label in wanted)
    ]


@contextlib.contextmanager
def node_with_agent(folder: Path, port: int, **options) -> Iterator[tuple[Node, Agent]]:
    """A fake node and a running agent (options as for `Agent`); nothing is left behind."""
    node = Node(folder / "log")
    agent = None
    try:
        agent = Agent(node.logs, port, folder / "agent.log", **options)
        yield node, agent
    finally:
        if agent and agent.process.poll() is None:
            agent.stop()
        node.close()


def needs_root() -> bool:
    return os.geteuid() != 0
