"""A real Kubernetes cluster of one node on this Linux machine.

No Docker, no registry, no downloads except Go modules and Debian packages. `python3 -m tests.e2e.cluster --help` lists
the commands. Standard library only, so that it runs before anything is installed.
"""
