"""The commands behind `make cluster`, `make cluster-down`, `make apiserver` and `make images`."""

from __future__ import annotations

import argparse
import signal
import sys

from . import apiserver, binaries, cluster, host, images, packages, processes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the cluster, or find it running; prints its kubeconfig as the last line")
    commands.add_parser("down", help="remove the cluster and everything it left on this machine")
    commands.add_parser("packages", help="install the Debian packages that are missing")
    commands.add_parser("binaries", help="build what is not in the cache yet, and print where each binary is")
    commands.add_parser("apiserver", help="a bare etcd and API server in the foreground; prints its kubeconfig")
    building = commands.add_parser("images", help="build the images that changed and import them")
    building.add_argument("name", nargs="*", help="only those with such a word in their name (default: all)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as tidily as Ctrl-C
    try:
        if arguments.command == "up":
            print(cluster.up(), flush=True)
        elif arguments.command == "down":
            cluster.down()
        elif arguments.command == "packages":
            packages.ensure()
        elif arguments.command == "images":
            images.build(arguments.name)
        elif arguments.command == "binaries":
            for name, path in binaries.ensure(*binaries.BINARIES).items():
                print(f"{name:24} {path}")
        elif arguments.command == "apiserver":
            apiserver.serve()
    except (binaries.BuildError, images.ImageError, packages.PackageError, processes.StartError, host.HeldError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
