"""Figures of the node itself, from /proc."""

import hashlib
import os
import re
import socket
from pathlib import Path

from .exposition import Page

_TICKS = os.sysconf("SC_CLK_TCK")
_SECTOR = 512
CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
MEMORY = {"MemTotal": "total", "MemFree": "free", "MemAvailable": "available", "Cached": "cached"}
# Partitions and stacked devices would count the same bytes again.
_DISK = re.compile(r"sd[a-z]+|vd[a-z]+|xvd[a-z]+|hd[a-z]+|nvme\d+n\d+|mmcblk\d+")
# A pod's end of a veth pair lives as long as the pod: thousands of series that say what the pod's own metrics say.
_POD_INTERFACE = re.compile(r"veth.*|cali.*|lxc.*|cilium_.*|eni[0-9a-f]+|lo")
_MACHINE_ID_FILES = ("/proc/1/root/etc/machine-id", "/etc/machine-id", "/var/lib/dbus/machine-id",
                     "/sys/class/dmi/id/product_uuid")


def node_name() -> str:
    """Name of the node in Kubernetes (NODE_NAME), else the host's own name."""
    return os.environ.get("NODE_NAME") or socket.gethostname()


def machine_id() -> str:
    """The host's machine id; where none can be read, 32 hex digits made from the node's name."""
    for name in _MACHINE_ID_FILES:
        try:
            found = Path(name).read_text().strip().replace("-", "").lower()
        except OSError:  # not there, or not ours to read
            continue
        if re.fullmatch("[0-9a-f]{32}", found):
            return found
    return hashlib.sha256(node_name().encode()).hexdigest()[:32]


def add_node(page: Page) -> None:
    """CPU, memory, disks, network and identity of the node."""
    page.add("node_info", 1, [("hostname", node_name()), ("kernel_version", os.uname().release)])
    page.add("node_uptime_seconds", float(_lines("uptime")[0].split()[0]))
    _add_cpu(page)
    memory = dict(line.split(":", 1) for line in _lines("meminfo"))
    for key, name in MEMORY.items():
        page.add(f"node_resources_memory_{name}_bytes", int(memory[key].split()[0]) * 1024)
    _add_disks(page)
    _add_interfaces(page)


def _add_cpu(page: Page) -> None:
    lines = [line.split() for line in _lines("stat") if line.startswith("cpu")]
    page.add("node_resources_cpu_logical_cores", len(lines) - 1)
    ticks = dict(zip(CPU_MODES, map(int, lines[0][1:]), strict=False))
    for mode, value in ticks.items():
        page.add("node_resources_cpu_usage_seconds_total", value / _TICKS, [("mode", mode)])


def _add_disks(page: Page) -> None:
    for line in _lines("diskstats"):
        fields = line.split()
        device = fields[2]
        if not _DISK.fullmatch(device):
            continue
        reads, _, sectors_read, ms_read, writes, _, sectors_written, ms_written, _, ms_busy = map(int, fields[3:13])
        of = [("device", device)]
        page.add("node_resources_disk_reads_total", reads, of)
        page.add("node_resources_disk_writes_total", writes, of)
        page.add("node_resources_disk_read_bytes_total", sectors_read * _SECTOR, of)
        page.add("node_resources_disk_written_bytes_total", sectors_written * _SECTOR, of)
        page.add("node_resources_disk_read_time_seconds_total", ms_read / 1000, of)
        page.add("node_resources_disk_write_time_seconds_total", ms_written / 1000, of)
        page.add("node_resources_disk_io_time_seconds_total", ms_busy / 1000, of)


def _add_interfaces(page: Page) -> None:
    for line in _lines("net/dev")[2:]:
        name, _, rest = line.partition(":")
        interface = name.strip()
        if _POD_INTERFACE.fullmatch(interface):
            continue
        fields = rest.split()
        of = [("interface", interface)]
        page.add("node_net_received_bytes_total", int(fields[0]), of)
        page.add("node_net_received_packets_total", int(fields[1]), of)
        page.add("node_net_transmitted_bytes_total", int(fields[8]), of)
        page.add("node_net_transmitted_packets_total", int(fields[9]), of)


def _lines(name: str) -> list[str]:
    return Path("/proc", name).read_text().splitlines()
