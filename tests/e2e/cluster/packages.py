"""Installs the Debian packages that the harness needs and the machine lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import processes
from .binaries import CACHE

LIST = Path(__file__).with_name("packages.txt")


class PackageError(RuntimeError):
    """Packages are missing and could not be installed."""


def ensure() -> None:
    """Installs what packages.txt names and is not there yet. Raises PackageError."""
    lines = (line.split("#")[0].strip() for line in LIST.read_text().splitlines())
    wanted = [line for line in lines if line]
    if not shutil.which("dpkg-query"):
        raise PackageError(f"not a Debian machine: install what {LIST} names by hand, or use kind and set KUBECONFIG")
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n", *wanted]
    shown = subprocess.run(query, capture_output=True, text=True).stdout
    installed = {line.split()[0] for line in shown.splitlines() if line.split()[1:2] == ["ii"]}
    missing = [name for name in wanted if name not in installed]
    if not missing:
        return
    print(f"installing Debian packages: {' '.join(missing)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Services that packages bring (containerd's own, for one) must not start: the harness runs its own.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
            command = ["apt-get", *arguments]
            log = CACHE / "logs" / "apt-get.log"
            code = processes.run_logged("apt-get", command, log, env=environment)
            if code:
                raise PackageError(f"{' '.join(command)} ended with {code}; log: {log}\n{processes.log_tail(log)}")
    finally:
        if ours:
            policy.unlink()
    print(f"installed in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
