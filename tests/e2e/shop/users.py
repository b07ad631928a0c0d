#!/usr/bin/env python3
"""What the shop's users saw, by the load generator's own record.

    users.py [--seconds N | --since EPOCH [--until EPOCH]] [-o table|json]

Shares are of all requests sent: `failed` had no good answer, `slow` had one after more than the bound. Latency counts from when a
request was due. The last seconds are missing while their requests are still open (at most the time-out, 5 s, and 2 s more).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from typing import Any

import kubectl


def read(seconds: int) -> list[dict]:
    """The records of the last `seconds` (record.py has their shape), oldest first."""
    lines = kubectl.run("exec", "deployment/load", "--", "tail", "-n", str(seconds), "/state/users.jsonl").splitlines()
    return [json.loads(line) for line in lines]


def total(records: list[dict]) -> dict[str, Any]:
    """All records as one, counts summed; `routes` the same per route. Times are epoch seconds."""
    routes: dict[str, Counter[str]] = {}
    for record in records:
        for route, counts in record["routes"].items():
            routes.setdefault(route, Counter()).update(counts)
    return {
        "from": records[0]["t"] if records else None,
        "to": records[-1]["t"] + 1 if records else None,
        "seconds": len(records),
        "sent": sum(record["sent"] for record in records),
        "ok": sum(record["ok"] for record in records),
        "failed": sum(record["failed"] for record in records),
        "slow": dict(sum((Counter(record["slow"]) for record in records), Counter())),
        "failures": dict(sum((Counter(record["failures"]) for record in records), Counter())),
        "longest": max((record["longest"] for record in records), default=0.0),
        "first_failure": next((record["first_failure"] for record in records if record["failed"]), None),
        "routes": {route: dict(counts) for route, counts in sorted(routes.items())},
    }


def table(seen: dict[str, Any]) -> str:
    if not seen["sent"]:
        return "no requests recorded"
    share = f"{100 * seen['ok'] / seen['sent']:.2f} %"
    lines = [
        f"{seen['seconds']} s: {seen['sent']} requests, {share} good, {seen['failed']} failed, longest {seen['longest']:.3f} s",
        f"{'ROUTE':16}{'SENT':>8}{'FAILED':>8}{'>250MS':>8}{'>1S':>8}",
    ]
    for route, counts in seen["routes"].items():
        cells = (counts.get(key, 0) for key in ("sent", "failed", "slow_0.25", "slow_1"))
        lines.append(f"{route:16}" + "".join(f"{cell:8}" for cell in cells))
    if seen["failures"]:
        lines.append("failures: " + ", ".join(f"{count} x {kind}" for kind, count in sorted(seen["failures"].items())))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="the last N recorded seconds (default 60)")
    parser.add_argument("--since", type=float, help="from this epoch second on, instead")
    parser.add_argument("--until", type=float, default=float("inf"))
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    try:
        if arguments.since is None:
            records = read(arguments.seconds)
        else:
            recorded = read(max(1, math.ceil(time.time() - arguments.since) + 1))
            records = [r for r in recorded if arguments.since <= r["t"] and r["t"] + 1 <= arguments.until]
    except kubectl.KubectlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seen = total(records)
    print(json.dumps(seen) if arguments.output == "json" else table(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
