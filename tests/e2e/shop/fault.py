#!/usr/bin/env python3
"""The demo shop's fault switch.

    fault.py list                               all faults, and which are in the shop now
    fault.py inject NAME [--service S] [...]    one fault in; `fault.py inject NAME -h` lists what can be chosen
    fault.py undo NAME [--service S]            the same fault out again, and a check that it is; `undo all` for whatever is in
    fault.py truth                              every fault that ever was, as JSON lines

The truth about each fault (id, fault, class, application, parameters, and the epoch times requested, onset, undone) is appended to
a file: --truth, else $SHOP_TRUTH, else shop-truth.jsonl in the cache folder. `onset` is when the fault took effect.
Exit status: 1 it did not work, 2 it makes no sense (injected already, not injected, unknown).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import kubectl
import truth
from faults import TABLE, Fault
from means import FaultError, workload


class Senseless(Exception):
    """A command that cannot be meant; the message says why."""


def inject(fault: Fault, target: str, parameters: dict[str, Any], file: Path) -> truth.Record:
    """Put the fault into the shop; its record. If that fails half-way, it is taken out again."""
    active = truth.active()
    if truth.key(fault.name, target) in active:
        since = _clock(active[truth.key(fault.name, target)].get("onset"))
        raise Senseless(f"{fault.name} is in {target} already, since {since}; take it out with: undo {fault.name}")
    record = _record(fault, target, parameters) | fault.means.plan(target, parameters)
    others = [other for other in active.values() if other["target"] == target]
    truth.remember(record)
    try:
        record["onset"] = fault.means.apply(record, others)
    except (FaultError, kubectl.KubectlError, KeyboardInterrupt) as error:
        print(f"{error or 'interrupted'}\ntaking it out again", file=sys.stderr)
        fault.means.undo(record, others)
        truth.forget(record)
        raise
    truth.remember(record)
    truth.append(file, record)
    return record


def _record(fault: Fault, target: str, parameters: dict[str, Any]) -> truth.Record:
    cause = workload(fault.cause or target)
    now = time.time()
    return {
        "id": f"{fault.name}.{target}.{now:.0f}",
        "fault": fault.name,
        "class": fault.failure_class,
        "application": {
            "namespace": kubectl.NAMESPACE,
            "kind": cause["kind"],
            "name": cause["metadata"]["name"],
        },
        "accept": list(fault.accept),
        "near": list(fault.near),
        "users_see": fault.users_see,
        "target": target,
        "parameters": parameters,
        "requested": now,
        "onset": None,
        "undone": None,
    }


def undo(name: str, service: str | None, file: Path) -> truth.Record:
    """Take the fault out of the shop and see that it is; its record."""
    active = truth.active()
    found = [r for r in active.values() if r["fault"] == name and service in (None, r["target"])]
    if not found:
        now = ", ".join(sorted(active)) or "nothing"
        raise Senseless(f"{name}{f' of {service}' if service else ''} is not in the shop; {now} is")
    if len(found) > 1:
        raise Senseless(f"{name} is in {' and '.join(r['target'] for r in found)}: say which with --service")
    record = found[0]
    others = [other for other in active.values() if other["target"] == record["target"] and other is not record]
    TABLE[name].means.undo(record, others)
    record["undone"] = time.time()
    truth.forget(record)
    truth.append(file, record)
    return record


def show() -> None:
    active = truth.active()
    print(f"{'FAULT':15}{'CLASS':20}{'IN':16}{'SINCE':10}WHAT")
    for fault in TABLE.values():
        records = [r for r in active.values() if r["fault"] == fault.name]
        for record in records or [{"target": f"({fault.target})", "onset": 0}]:
            since = "" if record["onset"] == 0 else _clock(record["onset"])
            print(f"{fault.name:15}{fault.failure_class:20}{record['target']:16}{since:10}{fault.what}")


def _clock(epoch: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(epoch)) if epoch else "just now"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=truth.DEFAULT_FILE, help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("truth")
    undoing = commands.add_parser("undo")
    undoing.add_argument("fault", choices=[*TABLE, "all"])
    undoing.add_argument("--service")
    injecting = commands.add_parser("inject").add_subparsers(dest="fault", required=True)
    for fault in TABLE.values():
        options = injecting.add_parser(fault.name, help=fault.what, description=fault.what)
        if fault.any_target:
            options.add_argument("--service", default=fault.target, help="default %(default)s")
        for name, default in fault.parameters.items():
            words = "only in so many instances; 0: in all" if name == "instances" else "default %(default)s"
            options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=words)
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    try:
        if arguments.command == "list":
            show()
        elif arguments.command == "truth":
            for record in truth.read(arguments.truth):
                print(json.dumps(record))
        elif arguments.command == "inject":
            fault = TABLE[arguments.fault]
            parameters = {name: getattr(arguments, name) for name in fault.parameters}
            record = inject(fault, getattr(arguments, "service", fault.target), parameters, arguments.truth)
            delay = record["onset"] - record["requested"]
            print(f"{fault.name} is in {record['target']} since {_clock(record['onset'])} ({delay:.1f} s after the command)")
        elif arguments.fault == "all":
            for record in truth.active().values():
                undo(record["fault"], record["target"], arguments.truth)
                print(f"{record['fault']} is out of {record['target']}")
        else:
            record = undo(arguments.fault, arguments.service, arguments.truth)
            print(f"{record['fault']} is out of {record['target']} since {_clock(record['undone'])}")
    except Senseless as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (FaultError, kubectl.KubectlError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
