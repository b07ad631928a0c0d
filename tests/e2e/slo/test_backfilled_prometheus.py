"""31 days of series in a real Prometheus, read and evaluated as the operator does it; and a Prometheus that knows nothing."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from appstatus.api.names import AppKey, ObjectRef
from appstatus.api.objective import Objective, Outage
from appstatus.api.tiers import default_tiers
from appstatus.incidents.machine import step
from appstatus.incidents.observe import observe
from appstatus.model.build import build
from appstatus.model.facts import ContainerFact, Facts, NodeFact, PodFact, WorkloadFact
from appstatus.model.who import Who
from appstatus.slo.status import SLOStatus
from appstatus.sources.promhttp import Endpoint
from appstatus.stores import Store
from openmetrics import DAY, HOUR, Rate, write
from promprocess import PrometheusProcess

STEP = 15.0
EXACT = 1e-3  # 0.1 %
MACHINE = "0123456789abcdef0123456789abcdef"
CART = AppKey("shop", "Deployment", "cart")
FRONTEND = AppKey("shop", "Deployment", "frontend")

# Answers of cart, seen at cart: two bad episodes long ago, one in the last 45 min.
GOOD = Rate(10.0, (20 * DAY, 20 * DAY - 3 * HOUR, 9.5), (2 * DAY, 2 * DAY - 2400, 9.0), (2700, 0, 9.7))
BAD = Rate(0.002, (20 * DAY, 20 * DAY - 3 * HOUR, 0.5), (2 * DAY, 2 * DAY - 2400, 1.0), (2700, 0, 0.3))
# Requests that got no answer, seen at frontend.
LOST = Rate(0.001, (5 * DAY, 5 * DAY - HOUR, 0.2))
# Good answers that took longer than 250 ms, and the others.
SLOW = Rate(0.01, (10 * HOUR, 9 * HOUR, 2.0))
FAST = GOOD - SLOW
IDLE = Rate(0.1)
# What an earlier leader counted for an application of which no raw data are left.
COUNTED = Rate(5.0)
COUNTED_GOOD = Rate(4.99, (10 * DAY, 10 * DAY - 2 * HOUR, 4.0), (4 * HOUR, 3 * HOUR, 4.5))


def series() -> dict[tuple[str, str], Rate]:
    cart = f'machine_id="{MACHINE}",container_id="/k8s/shop/cart-1/app"'
    frontend = f'machine_id="{MACHINE}",container_id="/k8s/shop/frontend-1/app"'
    to_cart = f'{frontend},destination="10.0.0.9:80",actual_destination="10.1.0.2:80"'
    bucket = "container_http_inbound_requests_duration_seconds_total_bucket"
    return {
        ("container_http_inbound_requests_total", f'{cart},status="2xx",peer="cluster"'): GOOD,
        ("container_http_inbound_requests_total", f'{cart},status="5xx",peer="cluster"'): BAD,
        ("container_http_inbound_requests_total", f'{cart},status="5xx",peer="kubelet"'): Rate(1.0),
        ("container_http_requests_total", f'{to_cart},status="2xx"'): GOOD,
        ("container_http_requests_total", f'{to_cart},status="overdue"'): LOST,
        # Else the server's errors were late answers to the requests that got none.
        ("container_http_requests_total", f'{to_cart},status="5xx"'): BAD,
        ("container_resources_cpu_usage_seconds_total", cart): IDLE,
        ("container_resources_cpu_usage_seconds_total", frontend): IDLE,
        (bucket, f'{cart},peer="cluster",le="0.25"'): FAST,
        (bucket, f'{cart},peer="cluster",le="+Inf"'): GOOD,
        ("appstatus_slo_good_total", 'namespace="shop",application="frontend.deployment",slo="availability"'): COUNTED_GOOD,
        ("appstatus_slo_events_total", 'namespace="shop",application="frontend.deployment",slo="availability"'): COUNTED,
    }


def facts(now: float) -> Facts:
    """cart and frontend with one pod each, a month old."""
    workloads, pods = {}, {}
    for number, key in enumerate((FRONTEND, CART), start=1):
        ref = ObjectRef("apps/v1", key.kind, key.namespace, key.name, f"uid-{key.name}")
        workloads[key] = WorkloadFact(key, ref, {}, {}, now - 40 * DAY, desired=1, available=1)
        pods[key.namespace, f"{key.name}-1"] = PodFact(
            namespace=key.namespace,
            name=f"{key.name}-1",
            uid=f"pod-{key.name}",
            node="node-1",
            ips=(f"10.1.0.{number}",),
            host_network=False,
            labels={},
            owner=key,
            phase="Running",
            ready=True,
            created=now - 40 * DAY,
            ready_since=now - 40 * DAY,
            containers=(ContainerFact("app", "image"),),
        )
    return Facts(workloads, pods, {}, {"node-1": NodeFact("node-1", MACHINE, ("10.0.0.1",), True, 4.0, 8e9)})


def objective(indicator: str, ratio: float, app: AppKey = CART) -> Objective:
    window = 30 * DAY
    return Objective(
        id=indicator,
        app=app,
        indicator=indicator,  # type: ignore[arg-type]
        ratio=ratio,
        window=window,
        tiers=default_tiers(window),
        outage=Outage(),
        threshold=0.25 if indicator == "latency" else None,
        source=ObjectRef("appstatus.dev/v1alpha1", "SLO", "shop", indicator, "u"),
    )


@pytest.fixture(scope="module", name="now")
def _now() -> float:
    """A whole hour: Prometheus drops what is older than its retention, so it cannot be a fixed one."""
    return time.time() // HOUR * HOUR


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, now: float) -> Iterator[PrometheusProcess]:
    folder = tmp_path_factory.mktemp("prometheus")
    process = PrometheusProcess(folder, {}, STEP)
    write(folder / "past.om", now, series())
    # Larger blocks: by default promtool reads the whole file once for every two hours.
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=768h", "--quiet"]
    subprocess.run([*command, str(folder / "past.om"), str(process.data)], check=True, capture_output=True, timeout=120)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def empty_prometheus(tmp_path: Path) -> Iterator[PrometheusProcess]:
    process = PrometheusProcess(tmp_path / "prometheus", {}, STEP)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def store(request: pytest.FixtureRequest, now: float) -> Iterator[Callable[[str], Store]]:
    opened: list[Store] = []

    def open_store(url: str) -> Store:
        opened.append(Store.open(Endpoint(url), STEP, now))
        return opened[-1]

    yield open_store
    for each in opened:
        each.close()


def evaluate(store: Store, objectives: list[Objective], now: float) -> dict[str, SLOStatus]:
    """Cycles at one moment until the past has been read back; the statuses by SLO."""
    known = facts(now)
    give_up = time.monotonic() + 120
    begun = False
    while not begun or store.backfill.busy:
        metrics = store.prometheus.at(now, lambda identity: Who(known, identity))
        world = build(store.prometheus.who, metrics, now)
        assert not world.missing, world.missing
        store.enter(world, objectives)
        begun = begun or store.backfill.busy
        assert time.monotonic() < give_up, "the past was not read back within 120 s"
        time.sleep(0.05)
    return {status.objective.id: status for found in store.ledger.evaluate(objectives, now).values() for status in found}


def test_budget_and_burn_rates_of_31_days(prometheus, store, now):
    availability, latency = objective("availability", 0.999), objective("latency", 0.995)
    begin = time.monotonic()
    found = evaluate(store(prometheus.url), [availability, latency], now)
    print(f"read 30 days of 2 SLOs back in {time.monotonic() - begin:.1f} s")
    for wanted, bad, total in (
        (availability, (BAD, LOST), (GOOD, BAD, LOST)),
        (latency, (SLOW,), (GOOD,)),
    ):
        status = found[wanted.id]
        allowed = 1 - wanted.ratio

        def share(length: float, bad=bad, total=total) -> float:
            return sum(each.between(length) for each in bad) / sum(each.between(length) for each in total)

        whole = share(30 * DAY)
        print(f"{wanted.id}: budget {status.budget:.5f}, exact {1 - whole / allowed:.5f}; state {status.state}")
        assert status.covered == pytest.approx(30 * DAY, rel=EXACT)
        assert 1 - status.sli == pytest.approx(whole, rel=EXACT)
        assert status.budget == pytest.approx(1 - whole / allowed, abs=EXACT)
        for tier, known in zip(wanted.tiers, status.tiers, strict=False):
            print(f"  {tier.name}: {known.short_burn:.4f}/{known.long_burn:.4f}")
            assert known.short_burn == pytest.approx(share(tier.short) / allowed, rel=EXACT, abs=1e-4)
            assert known.long_burn == pytest.approx(share(tier.long) / allowed, rel=EXACT, abs=1e-4)
            assert known.firing == (min(share(tier.short), share(tier.long)) > tier.factor(30 * DAY) * allowed)
    assert found["availability"].state == "FastBurn", "3 % for 45 min against 99.9 %"
    assert found["latency"].state in ("Met", "SlowBurn")


def test_what_an_earlier_leader_counted_is_read_back(prometheus, store, now):
    wanted = objective("availability", 0.99, FRONTEND)
    found = evaluate(store(prometheus.url), [wanted], now)["availability"]

    def counted(rate: Rate, length: float) -> float:
        return rate.between(length) - rate.between(HOUR)  # in the last hour nobody called it, as its own agent says

    total, good = counted(COUNTED, 30 * DAY), counted(COUNTED_GOOD, 30 * DAY)
    assert found.total == pytest.approx(total, rel=EXACT)
    assert found.budget == pytest.approx(1 - (total - good) / total / 0.01, abs=EXACT)
    medium = next(tier for tier in found.tiers if tier.name == "medium")
    bad = counted(COUNTED, 6 * HOUR) - counted(COUNTED_GOOD, 6 * HOUR)
    assert medium.bad_events == pytest.approx(bad, rel=2e-3)


def test_a_prometheus_that_knows_nothing(empty_prometheus, store, now):
    wanted = [objective("availability", 0.999), objective("latency", 0.995)]
    opened = store(empty_prometheus.url)
    found = evaluate(opened, wanted, now)
    assert {status.state for status in found.values()} == {"NoData"}
    assert all(status.sli is None and status.budget is None and status.reason for status in found.values())
    ref = facts(now).workloads[CART].ref
    seen = {CART: observe(CART, ref, found.values())}
    assert step([], seen, {}, {CART}, now).due == ()
