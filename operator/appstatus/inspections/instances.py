"""Instances: are there enough, do they stay up, does the rollout get through."""

import numpy as np

from appstatus.inspections.cpu import container_name
from appstatus.inspections.judge import Finding, Judge
from appstatus.inspections.network import dialled_in_vain
from appstatus.inspections.result import CheckResult
from appstatus.inspections.table import BY_ID

# Kinds whose pods come and go by design.
PERIODIC = frozenset({"CronJob", "Job"})
# Judged from this age on: a first start is not an outage (seconds).
FIRST_START = 120.0


def inspect(judge: Judge) -> list[CheckResult]:
    return [
        judge.findings("InstanceAvailability", _availability(judge)),
        judge.findings("InstanceRestarts", _restarts(judge)),
        judge.findings("DeploymentStatus", _rollout(judge)),
    ]


def _availability(judge: Judge) -> list[Finding]:
    app, now = judge.app, judge.world.now
    if app.key.kind in PERIODIC or app.desired is None:
        return []
    if app.desired == 0:
        return _wanted(judge)
    if app.available is None:
        return [Finding(app.key.name, False, None, fact="its controller has not said yet")]
    if app.created is not None and now - app.created < FIRST_START:
        return []
    value = 100.0 * app.available / app.desired
    finding = judge.value("InstanceAvailability", app.key.name, value)
    if not finding.failed and app.available > 0:
        return [finding]
    waiting = sorted((i for i in app.instances.values() if not i.ready and not i.obsolete), key=lambda i: i.unready_since or now)
    since = waiting[0].unready_since if waiting else None
    # Pods that do not exist at all (quota, admission) have no time of their own: judged at once.
    if since is not None and now - since < BY_ID["InstanceAvailability"].sustained_for:
        return [Finding(app.key.name, False, value)]
    trouble = next((f": {i.trouble}" for i in waiting if i.trouble), "")
    fact = f"{app.available} of {app.desired} available{trouble}"
    return [Finding(i.name, True, value, since, fact) for i in waiting] or [Finding(app.key.name, True, value, None, fact)]


def _wanted(judge: Judge) -> list[Finding]:
    """Scaled to zero is no failure, unless somebody still asks for it."""
    dialled = ((c.client.name, dialled_in_vain(judge, c)[1]) for c in judge.app.downstreams)
    asking = {client: since for client, since in dialled if since is not None}
    if not asking:
        return []
    fact = f"scaled to 0, and still asked for by {', '.join(sorted(asking)[:5])}"
    return [Finding(judge.app.key.name, True, 0.0, min(asking.values()), fact)]


def _restarts(judge: Judge) -> list[Finding]:
    found = []
    for instance in judge.app.instances.values():
        for container in instance.containers.values():
            if container.restarts is None:
                continue
            window = judge.recent(container.restarts, BY_ID["InstanceRestarts"].sustained_for)
            if np.isnan(window).all():
                continue  # gone for longer than the window
            times = judge.world.times[-len(window) :][window > 0]
            since = float(times[0]) if len(times) else None
            found.append(
                judge.value(
                    "InstanceRestarts", container_name(instance, container), float(np.nansum(window)), since, instance.trouble
                )
            )
    return found


def _rollout(judge: Judge) -> list[Finding]:
    app, now = judge.app, judge.world.now
    if app.desired is None or app.key.kind in PERIODIC:
        return []
    if not app.rollout_in_progress:
        return [Finding(app.key.name, False, 0.0)]
    unready = [i for i in app.instances.values() if not i.ready and not i.obsolete]
    rollouts = [change.time for change in app.changes if change.kind == "rollout"]
    started = max(rollouts) if rollouts else min((i.unready_since or now for i in unready), default=now)
    trouble = next((i.trouble for i in unready if i.trouble), "new instances are not ready")
    return [judge.value("DeploymentStatus", app.key.name, now - started, started, trouble)]
