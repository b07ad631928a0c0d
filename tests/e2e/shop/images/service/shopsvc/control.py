"""`python3 -m shopsvc.control '{"error_share": 0.14}'` inside a container: switch its faults, print when they took effect.

'{}' heals. Exit status 1: the part did not take the faults within 20 s; 2: the faults make no sense.
"""

from __future__ import annotations

import json
import sys
import time

from .faults import POLL_SECONDS, STATE, digest, parse

PATIENCE_SECONDS = 20.0


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    text = sys.argv[1]
    try:
        parse(text)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    applied = STATE / "applied.json"
    applied.unlink(missing_ok=True)  # what it says now may be about the same faults, switched earlier
    scratch = STATE / "faults.new"
    scratch.write_text(text)
    scratch.rename(STATE / "faults.json")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if applied.exists():
            answer = json.loads(applied.read_text())
            if answer["digest"] == digest(text):
                print(answer["at"])
                return 0
        time.sleep(POLL_SECONDS / 5)
    print(f"error: not in effect after {PATIENCE_SECONDS:g} s: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
