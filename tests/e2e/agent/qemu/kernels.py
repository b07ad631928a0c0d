# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels for the matrix, fetched with apt from the machine's own archive into the cache."""

import os
import re
import subprocess
from pathlib import Path

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}


def cache() -> Path:
    return Path(os.environ.get("APPSTATUS_CACHE", Path.home() / ".cache" / "appstatus")) / "kernels"


def fetch(version: str) -> Path:
    """Folder with boot/vmlinuz-* and lib/modules/*, depmod done. Downloads once."""
    folder = cache() / version
    if (folder / "ready").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    apt = _private_apt(folder, SUITES[version])
    subprocess.run([*apt, "update", "-qq"], check=True)
    shown = subprocess.run(
        [apt[0].replace("apt-get", "apt-cache"), *apt[1:], "depends", "linux-image-amd64"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    package = re.search(r"Depends: (linux-image-\S+)", shown)[1]
    subprocess.run([*apt, "download", "-qq", package], check=True, cwd=folder)
    (deb,) = folder.glob("linux-image-*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    deb.unlink()
    (modules,) = _modules(folder).iterdir()
    subprocess.run(["depmod", "-b", modules.parents[2], modules.name], check=True)
    (folder / "ready").touch()
    return folder


def _modules(folder: Path) -> Path:
    """lib/modules, which newer packages put below usr."""
    for path in (folder / "lib" / "modules", folder / "usr" / "lib" / "modules"):
        if path.is_dir():
            return path
    raise FileNotFoundError(f"no modules in {folder}")


def _private_apt(folder: Path, suite: str) -> list[str]:
    """apt-get with its own lists, and the machine's own sources turned to another suite."""
    state = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "etc"):
        (state / name).mkdir(parents=True, exist_ok=True)
    uri = _archive()
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (state / "etc" / "sources.list").write_text(f"deb [signed-by={key}] {uri} {suite} main\n")
    options = {
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]


def _archive() -> str:
    """The Debian archive in the machine's sources."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    for uri in re.findall(r"^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s*)?)(\S+)", text, re.MULTILINE):
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise LookupError("no Debian archive in /etc/apt")
