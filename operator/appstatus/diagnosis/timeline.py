"""What happened near the onset: changes, restarts, instances that stopped being ready."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from appstatus.api.names import AppKey
from appstatus.model.world import Application, World

BEFORE = 1800.0  # seconds before the onset
MOST = 16


@dataclass(frozen=True, slots=True)
class Happening:
    """``where``: an application, or a node's name. ``on_path``: it concerns an application that carries some of the excess."""

    at: float
    where: AppKey | str
    what: str
    on_path: bool


def timeline(world: World, involved: Collection[AppKey], onset: float) -> tuple[Happening, ...]:
    """In the order of time, at most MOST. involved: applications on the way of the pain; of others only changes are told, and they
    give way first."""
    found: list[Happening] = []
    nodes: set[str] = set()
    for key, app in world.applications.items():
        on_path = key in involved
        found += [Happening(c.time, key, f"{c.kind} {c.what}".strip(), on_path) for c in app.changes]
        if on_path:
            found += _life(world, app)
            nodes |= {instance.node for instance in app.instances.values()}
    for name in sorted(nodes & world.nodes.keys()):
        found += [Happening(change.time, name, change.what or change.kind, True) for change in world.nodes[name].changes]
    near = [each for each in found if onset - BEFORE <= each.at <= world.now]
    nearest = sorted(near, key=lambda each: (not each.on_path, abs(each.at - onset)))[:MOST]
    return tuple(sorted(nearest, key=lambda each: (each.at, str(each.where), each.what)))


def _life(world: World, app: Application) -> Iterator[Happening]:
    for instance in app.instances.values():
        if instance.unready_since is not None and not instance.ready and not instance.obsolete:
            why = f" ({instance.trouble})" if instance.trouble else ""
            yield Happening(instance.unready_since, app.key, f"{instance.name} is not ready since then{why}", True)
        for container in instance.containers.values():
            for values, once, often in (
                (container.restarts, "restarted", "began to restart"),
                (container.oom_kills, "was killed for want of memory", "began to be killed for want of memory"),
            ):
                if values is None:
                    continue
                at = np.flatnonzero(np.nan_to_num(values) > 0)
                if len(at):
                    count = float(np.nansum(values))
                    what = once if count < 1.5 else f"{often}: {count:.0f} times until now"
                    yield Happening(float(world.times[at[0]]), app.key, f"{instance.name} ({container.name}) {what}", True)
