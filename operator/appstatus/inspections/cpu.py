"""CPU: of the application's containers and of the nodes they run on."""

import numpy as np

from appstatus.inspections.judge import Item, Judge, ratio
from appstatus.inspections.result import CheckResult
from appstatus.model.series import F64
from appstatus.model.world import Container, Instance

# Waits shorter than this in all hurt nobody, whatever their share (s/s).
LEAST_DELAY = 0.1


def container_name(instance: Instance, container: Container) -> str:
    return f"{instance.name}/{container.name}" if len(instance.containers) > 1 else instance.name


def inspect(judge: Judge) -> list[CheckResult]:
    containers = [(i, c) for i in judge.app.instances.values() if not i.obsolete for c in i.containers.values()]
    usage, throttled, delay = [], [], []
    for instance, container in containers:
        name = container_name(instance, container)
        if container.cpu_usage is not None and container.cpu_limit is not None:
            share = 100 * ratio(container.cpu_usage, container.cpu_limit)
            usage.append(Item(name, share, lost=judge.lost(instance, container.cpu_usage)))
        if container.cpu_throttled is not None:
            throttled.append(Item(name, container.cpu_throttled, lost=judge.lost(instance, container.cpu_throttled)))
        if container.cpu_delay is not None and container.cpu_usage is not None:
            gone = judge.lost(instance, container.cpu_delay)
            delay.append(Item(name, delay_share(container), f"on {instance.node}", lost=gone))
    return [
        judge.gauge("CPUContainer", usage),
        judge.gauge("CPUNode", _nodes(judge)),
        judge.gauge("CPUThrottling", throttled),
        judge.gauge("CPUDelay", delay),
    ]


def delay_share(container: Container) -> F64:
    """(T,) percent of the time ready to run that was spent waiting for others; throttling is the container's own limit."""
    assert container.cpu_delay is not None and container.cpu_usage is not None
    delay = container.cpu_delay
    if container.cpu_throttled is not None:
        delay = np.maximum(delay - np.nan_to_num(container.cpu_throttled), 0.0)
    share = 100 * ratio(delay, delay + container.cpu_usage)
    return np.where(delay < LEAST_DELAY, 0.0, share)


def _nodes(judge: Judge) -> list[Item]:
    names = {i.node for i in judge.app.instances.values() if not i.obsolete and i.node}
    items = []
    for name in sorted(names):
        node = judge.world.nodes.get(name)
        if node is not None and node.cpu_usage is not None and judge.settings.excludes_node(name) is None:
            items.append(Item(name, 100 * node.cpu_usage))
    return items
