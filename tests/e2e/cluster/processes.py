"""Starts daemons and finds them again, whatever happened in between.

Each one carries a marker in its environment, which its own children (containerd's shims) inherit. So a process is known
as ours without a pid file that could be lost or name somebody else's process by now, and never by its name.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

MARKER = "APPSTATUS_CLUSTER"


class StartError(RuntimeError):
    """A daemon ended or did not become ready; the message names it, and the log to read."""


def start(mark: str, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a daemon in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, MARKER: mark},
        )


def running(owner: str) -> dict[int, str]:
    """Every live process of this machine whose marker is `owner/COMPONENT`: pid -> component."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    marked = {pid: marker(pid).partition("/") for pid in pids}
    return {pid: component for pid, (found, _, component) in marked.items() if found == owner}


def marker(pid: int) -> str:
    """The marker of a process, empty if it has none or is gone."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes()  # empty for zombies and kernel threads
    except OSError:
        return ""
    prefix = f"{MARKER}=".encode()
    return next((v[len(prefix) :].decode() for v in variables.split(b"\0") if v.startswith(prefix)), "")


def kill(pids: Iterable[int], is_ours: Callable[[int], bool], timeout: float = 10) -> list[int]:
    """SIGKILLs processes and waits for their end; returns those still there after `timeout` seconds.

    `is_ours(pid)` is asked once a pidfd pins the process, so that a pid reused meanwhile is never hit.
    """
    deadline = time.monotonic() + timeout
    left = []
    with contextlib.ExitStack() as stack:
        pinned: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                stack.callback(os.close, handle)
                if is_ours(pid):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    pinned[pid] = handle
        for pid, handle in pinned.items():
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                left.append(pid)
    return left


def run_logged(what: str, command: Sequence[str], log: Path, **options: Any) -> int:
    """Runs a command that may take minutes into `log`, says every 20 s what it is at, and returns its exit code.

    `options` are those of Popen. Ctrl-C ends the command with us.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(20)
                at = log_tail(log, 1).strip()[:90]
                print(f"  {what}: {time.monotonic() - started:.0f} s{f', {at}' if at else ''}", file=sys.stderr, flush=True)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def log_tail(log: Path, lines: int = 12) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"
