"""Containers of this node: what a cgroup is, what it is called, what it uses."""
