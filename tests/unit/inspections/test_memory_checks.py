import numpy as np
import pytest
from appstatus.inspections import run
from appstatus.inspections.result import CheckResult
from appstatus.model.series import F64
from appstatus.model.world import Container
from worlds import NOW, T, application, container, instance, key, last, series, world

MIB = 2.0**20


def check(check_id: str, *containers: Container, kind: str = "Deployment") -> CheckResult:
    app = application(key("cart", kind), [instance("cart-a", containers=containers)])
    return next(r for r in run(world([app]), None, NOW)[app.key] if r.id == check_id)


@pytest.mark.parametrize(("kills", "outcome"), [(1.0, "fail"), (0.0, "pass"), (np.nan, "pass")])
def test_one_oom_kill_within_the_hour_fails(kills: float, outcome: str) -> None:
    assert check("MemoryOOM", container(oom_kills=last(1, kills))).outcome == outcome


def test_oom_kills_are_skipped_without_the_counter() -> None:
    assert check("MemoryOOM", container()).outcome == "skip"


@pytest.mark.parametrize(("rss", "outcome"), [(95.0, "fail"), (85.0, "pass"), (np.nan, "unknown")])
def test_usage_against_the_limit(rss: float, outcome: str) -> None:
    made = container(memory_rss=last(40, rss * MIB), memory_limit=series(100 * MIB))
    assert check("MemoryContainer", made).outcome == outcome


def test_memory_without_a_limit_is_not_judged_against_one() -> None:
    assert check("MemoryContainer", container(memory_rss=series(1e9))).outcome == "skip"


def growing(start: float, end: float) -> F64:
    return np.linspace(start, end, T) * MIB


def test_steady_growth_fails_with_its_rate() -> None:
    found = check("MemoryLeakPercent", container(memory_rss=growing(100, 200)))
    assert found.outcome == "fail"
    assert found.value == pytest.approx(100 * 100 / 150, rel=0.01)


def test_growth_that_has_stopped_passes() -> None:
    rss = growing(100, 200)
    rss[T // 2 :] = rss[T // 2]
    assert check("MemoryLeakPercent", container(memory_rss=rss)).outcome == "pass"


def test_growth_of_a_few_megabytes_passes_whatever_its_share() -> None:
    assert check("MemoryLeakPercent", container(memory_rss=growing(10, 40))).outcome == "pass"


def test_the_same_growth_fails_where_it_is_a_twentieth_of_the_limit() -> None:
    assert check("MemoryLeakPercent", container(memory_rss=growing(10, 40), memory_limit=series(100 * MIB))).outcome == "fail"


def test_a_restart_begins_anew() -> None:
    rss = np.concatenate([np.linspace(100, 400, 100), np.linspace(100, 101, T - 100)]) * MIB
    assert check("MemoryLeakPercent", container(memory_rss=rss)).outcome == "pass"


def test_a_container_of_which_too_little_is_known_is_unknown() -> None:
    assert check("MemoryLeakPercent", container(memory_rss=last(60, 100 * MIB, np.nan))).outcome == "unknown"


def test_jobs_may_grow() -> None:
    assert check("MemoryLeakPercent", container(memory_rss=growing(100, 900)), kind="CronJob").outcome == "skip"
