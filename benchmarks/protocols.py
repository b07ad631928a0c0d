#!/usr/bin/env python3
"""Does the node agent count what tshark counts? Replays captures between real sockets, under the agent's kernel side.

Each capture's conversations go through loopback in a network namespace of its own, on a port that says nothing, once in segments
as they were, once byte by byte, and once for each of the first 512 bytes of either direction, cut there. Both ends must count what
tshark finds in the capture, by protocol and by status; a capture of a protocol that is not read must count as nothing.
The folder's name says of what protocol a capture is. Needs root, tshark, and the built kernel side (make -C bpf).
Exit status 1: something was counted otherwise.

    benchmarks/protocols.py --pcaps DIR                 all captures
    benchmarks/protocols.py --pcaps DIR --quick         every 16th cut only
    benchmarks/protocols.py --pcaps DIR/redis --json FILE
"""

import sys

# The operator's benchmark beside this file has the name of a module of the standard library.
sys.path.append(sys.path.pop(0))

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from captures import Stream, expected, streams

HERE = Path(__file__).resolve().parent
sys.path[0:0] = [str(HERE.parent / "tests" / "e2e" / "agent"), str(HERE.parent / "node_agent")]

from appstatus_agent.kernel import Config, Kernel, rows  # noqa: E402
from talk import Owners, Talk, own_network  # noqa: E402

FOLDERS = {"postgre": "postgres"}  # whose name is not the protocol's
CUT_WITHIN = 512
BYTES_BY_BYTE = 100_000  # of a conversation; what follows goes in segments
MOST_REPLAYED = 20_000  # segments of one capture in mode `cut`: a long one is cut at fewer places


def cut(segments: list[tuple[bool, bytes]], at: int) -> list[tuple[bool, bytes]]:
    """Each direction's bytes cut at that offset."""
    cut_up, passed = [], Counter()
    for client, data in segments:
        here = at - passed[client]
        passed[client] += len(data)
        if 0 < here < len(data):
            cut_up += [(client, data[:here]), (client, data[here:])]
        else:
            cut_up.append((client, data))
    return cut_up


def replays(stream: Stream, mode: str, every: int) -> Iterator[list[tuple[bool, bytes]]]:
    if mode == "whole":
        yield stream.segments
    elif mode == "bytes":
        left = BYTES_BY_BYTE
        single = []
        for client, data in stream.segments:
            single += [(client, data[at : at + 1]) for at in range(min(left, len(data)))]
            if data[left:]:
                single.append((client, data[left:]))
            left = max(0, left - len(data))
        yield single
    else:
        longest = max(sum(len(data) for client, data in stream.segments if client == side) for side in (True, False))
        places = range(1, min(CUT_WITHIN, longest - 1) + 1)
        step = max(every, len(places) * len(stream.segments) // MOST_REPLAYED)
        for at in places[::step]:
            yield cut(stream.segments, at)


def replay(owners: Owners, segments: list[tuple[bool, bytes]]) -> None:
    talk = Talk(owners).open()
    for client, data in segments:
        (talk.ask if client else talk.answer)(data)
    talk.close()


def counted(kernel: Kernel, owner: int) -> Counter:
    """(protocol, how it ended) -> n."""
    total: Counter = Counter()
    for row in kernel.read_requests():
        if row["key"]["owner"] != owner:
            continue
        protocol = rows.PROTOCOLS[row["key"]["protocol"]]
        for status, n in zip(rows.STATUSES, row["value"]["ended"].tolist(), strict=True):
            total[protocol, rows.OK_OR_FAILED.get(status, "ok")] += n
    return +total


def run(kernel: Kernel, capture: Path, folder: str, mode: str, every: int) -> dict:
    protocol = FOLDERS.get(folder, folder)
    found = streams(capture)
    wanted = expected(capture, protocol, found)
    truth: Counter = Counter()
    owners = Owners()
    times = 0
    try:
        for number, stream in found.items():
            for segments in replays(stream, mode, every):
                replay(owners, segments)
                times += 1
                truth.update(wanted.get(number, {}))
        got = {end: counted(kernel, id_) for end, id_ in owners.ids.items()}
    finally:
        owners.remove()
    right = all(counts == truth for counts in got.values())
    return {"capture": f"{folder}/{capture.name}", "protocol": protocol, "mode": mode, "replays": times, "right": right,
            "tshark": text(truth), **{end: text(counts) for end, counts in got.items()}}  # fmt: skip


def text(counts: Counter) -> dict[str, int]:
    return {f"{protocol} {status}": n for (protocol, status), n in sorted(counts.items())}


def show(result: dict) -> None:
    counts = "  ".join(f"{name} {n}" for name, n in result["tshark"].items()) or "nothing"
    verdict = "ok   " if result["right"] else "WRONG"
    print(f"{verdict} {result['capture']:44} {result['mode']:6} x{result['replays']:<4} {counts}", flush=True)
    if not result["right"]:
        for end in ("client", "server"):
            print(f"      {end}: {result[end] or 'nothing'}")


def matrix(results: list[dict]) -> None:
    """Rows: what captures are of; columns: what both ends counted them as."""
    columns = [name for name in rows.PROTOCOLS if name]
    print(f"\n{'captures of':16}{'tshark':>10}" + "".join(f"{name:>10}" for name in columns))
    for protocol in sorted({result["protocol"] for result in results}):
        mine = [result for result in results if result["protocol"] == protocol]
        wanted = 2 * sum(sum(result["tshark"].values()) for result in mine)
        seen: Counter = Counter()
        for result in mine:
            for end in ("client", "server"):
                for name, n in result[end].items():
                    seen[name.split()[0]] += n
        print(f"{protocol:16}{wanted:>10}" + "".join(f"{seen[name]:>10}" for name in columns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pcaps", type=Path, required=True, help="folder of folders named like protocols, or one of those")
    parser.add_argument("--modes", default="whole,bytes,cut")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--objects", type=Path, help="the built kernel side; default: bpf/build")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    captures = sorted(options.pcaps.rglob("*.pcap*"))
    if not captures:
        print(f"no captures below {options.pcaps}", file=sys.stderr)
        return 2
    results = []
    kernel = Kernel.load(Config(objects=options.objects))
    began = time.monotonic()
    try:
        with own_network():
            for capture in captures:
                for mode in options.modes.split(","):
                    results.append(run(kernel, capture, capture.parent.name, mode, 16 if options.quick else 1))
                    show(results[-1])
        unparsed = {" ".join(key): n for key, n in kernel.counters().unparsed.items() if n}
    finally:
        kernel.close()
    matrix(results)
    right = sum(result["right"] for result in results)
    print(f"\n{right} of {len(results)} right, {time.monotonic() - began:.0f} s; not understood: {unparsed or 'nothing'}")
    if options.json:
        options.json.write_text(json.dumps({"results": results, "unparsed": unparsed}, indent=1))
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
