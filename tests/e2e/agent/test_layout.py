# SPDX-License-Identifier: Apache-2.0
"""The numpy rows have the layout of the C structs, read from the object's own BTF. Needs no root."""

import json
import subprocess

import pytest
from appstatus_agent.kernel import rows, settings

STRUCTS = {
    "series_key": rows.SERIES_KEY,
    "request_series": rows.REQUEST_VALUE,
    "tcp_series": rows.TCP_VALUE,
}  # what no map holds (struct event, struct found_socket) is not in BTF; the tests of test_tcp.py read them


@pytest.fixture(scope="module")
def structs(built) -> dict[str, dict]:
    """By name: size, and (name, offset in bytes) of each member."""
    found = {}
    for name in ("tap", "tcp", "process"):
        dump = subprocess.run(
            ["bpftool", "-j", "btf", "dump", "file", built / f"{name}.bpf.o"], check=True, capture_output=True
        ).stdout
        for kind in json.loads(dump)["types"]:
            if kind["kind"] == "STRUCT":
                found[kind["name"]] = {
                    "size": kind["size"],
                    "members": [(m["name"], m["bits_offset"] // 8) for m in kind.get("members", [])],
                }
    return found


@pytest.mark.parametrize("name", STRUCTS)
def test_rows(structs, name):
    dtype = STRUCTS[name]
    ours = [(field, dtype.fields[field][1]) for field in dtype.names]
    assert (dtype.itemsize, ours) == (structs[name]["size"], structs[name]["members"])


def test_config_of_the_loader(structs):
    assert structs["config"]["size"] == settings.STRUCT_CONFIG.size


def test_socket_state_stays_small(structs):
    """64 + 8 bytes of the kernel's own and this fit a 192-byte slab object."""
    assert structs["conn"]["size"] <= 120
