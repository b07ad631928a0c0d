"""The containers' own metrics: what they use, their limits, restarts and OOM kills."""

from ..exposition import Page
from .registry import Container, Registry


def add_containers(page: Page, registry: Registry) -> None:
    for container in registry.containers:
        _add(page, registry, container)
    for kind, count in registry.counts().items():
        page.add("appstatus_agent_containers", count, [("kind", kind)])


def _add(page: Page, registry: Registry, container: Container) -> None:
    of = [("container_id", container.id)]
    page.add("container_restarts_total", container.restarts, of)
    page.add("container_oom_kills_total", container.oom_kills, of)
    group = container.group
    if group is None:
        return
    page.add("container_info", 1, [*of, ("image", "")])
    cpu = registry.cpu(group)
    page.add("container_resources_cpu_limit_cores", cpu.limit_cores, of)
    page.add("container_resources_cpu_usage_seconds_total", cpu.usage_seconds, of)
    page.add("container_resources_cpu_throttled_seconds_total", cpu.throttled_seconds, of)
    page.add("container_resources_cpu_delay_seconds_total", container.delay.seconds, of)
    memory = registry.memory(group)
    page.add("container_resources_memory_limit_bytes", memory.limit, of)
    page.add("container_resources_memory_rss_bytes", memory.rss, of)
    page.add("container_resources_memory_cache_bytes", memory.cache, of)
