# SPDX-License-Identifier: Apache-2.0
"""Run a command under another kernel: python guest.py 5.10 [--cgroup hybrid] -- COMMAND

QEMU without KVM (a second virtualisation is rarely to be had), the machine's own root filesystem read-only below a tmpfs, two
CPUs. The exit code is the command's. Debian: qemu-system-x86 busybox-static cpio kmod.
"""

import argparse
import gzip
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import kernels

# Enough to mount the host's files over virtio; everything else is loaded on demand from there.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc; /bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /host /upper /root
mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
echo 3 > /proc/sys/kernel/printk
for module in MODULES; do insmod /modules/$module || echo "guest: $module refused"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /host || exec poweroff -f
mount -t tmpfs upper /upper; mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root
for at in proc sys dev; do mount --move /$at /root/$at; done
mount -t tmpfs run /root/run
mkdir -p /root/dev/shm /root/dev/pts; mount -t devpts pts /root/dev/pts
mkdir -p /root/lib/modules; mount --bind /root/MODULEFOLDER /root/lib/modules
CGROUPS
ip link set lo up
mount -t bpf bpf /root/sys/fs/bpf; mount -t tracefs trace /root/sys/kernel/tracing
# As process 1 itself: the kernel looks for modprobe below process 1's root.
exec chroot /root /usr/bin/env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \\
  /bin/sh -c '(cd WORKDIR && COMMAND); echo "guest: exit code $?"; sync; busybox poweroff -f'
"""

CGROUPS = {
    "v2": "mount -t cgroup2 cgroup /root/sys/fs/cgroup",
    "hybrid": """mount -t tmpfs cgroup /root/sys/fs/cgroup
for name in memory pids; do
  mkdir /root/sys/fs/cgroup/$name; mount -t cgroup -o $name cgroup /root/sys/fs/cgroup/$name
done
mkdir /root/sys/fs/cgroup/unified; mount -t cgroup2 cgroup /root/sys/fs/cgroup/unified""",
}


def _with_dependencies(modules: Path) -> list[Path]:
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        depends[Path(path).name.split(".ko")[0].replace("-", "_")] = [path, *others.split()]
    ordered: list[Path] = []
    for name in BOOT_MODULES:
        for path in reversed(depends.get(name, [])):  # built in, if not there
            if modules / path not in ordered:
                ordered.append(modules / path)
    return ordered


def _initramfs(folder: Path, cgroup: str, command: list[str], build: Path) -> Path:
    (modules,) = kernels._modules(folder).iterdir()
    root = build / "initramfs"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    names = []
    for path in _with_dependencies(modules):
        plain = root / "modules" / path.name.removesuffix(".xz")
        if path.suffix == ".xz":
            plain.write_bytes(subprocess.run(["xz", "-dc", path], check=True, capture_output=True).stdout)
        else:
            shutil.copy(path, plain)
        names.append(plain.name)
    init = (
        INIT.replace("MODULEFOLDER", str(modules.parent).lstrip("/"))
        .replace("MODULES", " ".join(names))
        .replace("CGROUPS", CGROUPS[cgroup])
        .replace("WORKDIR", shlex.quote(str(Path.cwd())))
        .replace("COMMAND", shlex.join(command).replace("'", "'\\''"))
    )
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    files = "\n".join(str(path.relative_to(root)) for path in [root, *root.rglob("*")])
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=files.encode(), check=True, capture_output=True, cwd=root
    ).stdout
    image = build / "initramfs.gz"
    image.write_bytes(gzip.compress(archive, 1))
    return image


def run(version: str, cgroup: str, command: list[str], seconds: float, echo: bool = True) -> tuple[int, str]:
    """Exit code of the command in the guest (255: it never got there) and everything it printed."""
    folder = kernels.fetch(version)
    (image,) = (folder / "boot").glob("vmlinuz-*")
    with tempfile.TemporaryDirectory() as build:
        initramfs = _initramfs(folder, cgroup, command, Path(build))
        qemu = subprocess.Popen(
            [
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
                "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
                "-kernel", image, "-initrd", initramfs,
                "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
                "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        timer = threading.Timer(seconds, qemu.kill)
        timer.start()
        lines, code = [], 255
        try:
            for line in qemu.stdout:
                line = line.rstrip("\r\n")
                lines.append(line)
                if line.startswith("guest: exit code "):
                    code = int(line.split()[-1])
                elif echo:
                    print(line, flush=True)
        finally:
            timer.cancel()
            qemu.kill()
            qemu.wait()
    return code, "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", choices=sorted(kernels.SUITES))
    parser.add_argument("--cgroup", choices=sorted(CGROUPS), default="v2")
    parser.add_argument("--seconds", type=float, default=900, help="give up after so long")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    code, _ = run(options.kernel, options.cgroup, options.command, options.seconds)
    return code


if __name__ == "__main__":
    sys.exit(main())
