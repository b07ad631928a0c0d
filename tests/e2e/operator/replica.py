"""The operator as a process, as its ServiceAccount."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class Replica:
    """One replica; its log is in ``folder``."""

    def __init__(self, name: str, folder: Path, kubeconfig: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._kubeconfig = kubeconfig
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("APPSTATUS_", "POD_", "KUBECONFIG"))},
            "KUBECONFIG": str(self._kubeconfig),
            "POD_NAME": self.name,
            "POD_NAMESPACE": "appstatus",
            "APPSTATUS_LISTEN": f"127.0.0.1:{self.port}",
            "APPSTATUS_LOG_FORMAT": "text",
            "APPSTATUS_AGENT_IMAGE": "localhost/appstatus-agent:dev",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "appstatus.handlers"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """As a node that dies: no goodbye."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str) -> float:
        """Sum of the samples of a metric; 0 without any."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    @property
    def leads(self) -> bool:
        return self.metric("appstatus_leader") == 1


def until(condition: object, seconds: float, what: str) -> float:
    """Waits for ``condition()`` to be true; returns how long that took."""
    assert callable(condition)
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        if condition():
            return time.monotonic() - begin
        time.sleep(0.25)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
