"""Containers as the agent sees them on this machine: real cgroups, a real agent with the DaemonSet's capabilities."""

import sys
import time

import pytest
from fake_node import find, needs_root, node_with_agent

pytestmark = [pytest.mark.bpf, pytest.mark.skipif(needs_root(), reason="makes cgroups and loads BPF programs: needs root")]
SPIN = "while True: pass"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with node_with_agent(tmp_path_factory.mktemp("node"), port=10391) as pair:
        yield pair


def label(pod, container="web"):
    return f"/k8s/shop/{pod}/{container}"


def start(node, agent, pod, *command, seconds=4, **options):
    """A started container that the agent knows."""
    container, tell_name = node.container(pod, "web", **options)
    container.run(*command)
    tell_name()
    agent.wait_for(lambda page: find(page, "container_info", container_id=label(pod)), seconds, f"container {pod}")
    return container


def test_the_first_metric_comes_soon_after_the_start(running):
    assert running[1].start_seconds < 4  # bound 2 s


def test_a_container_is_known_within_a_second_of_its_start(running):
    node, agent = running
    agent.wait_for(lambda page: find(page, "appstatus_agent_feature", feature="processes") == [1], 1, "exec events")
    container, tell_name = node.container("fresh", "web")
    container.run("sleep", "60")
    time.sleep(0.1)  # the kubelet names it a moment after its start
    tell_name()
    took = agent.wait_for(lambda page: find(page, "container_info", container_id=label("fresh")), 2, "container")
    print(f"known {took + 0.1:.2f} s after its start")


def test_counters_start_at_zero(running):
    node, agent = running
    start(node, agent, "quiet", "sleep", "60")
    assert agent.samples("container_oom_kills_total", container_id=label("quiet")) == [0]
    assert agent.samples("container_restarts_total", container_id=label("quiet")) == [0]


def test_an_oom_kill_is_counted_also_when_it_ends_the_container(running):
    node, agent = running
    container = start(node, agent, "hungry", "sleep", "60")
    container.set(("memory.max", "32M"), ("memory.limit_in_bytes", "32M"))
    victim = container.run(sys.executable, "-c", "import time; held = [bytes(1 << 20) + b'x' * (1 << 20) for _ in range(200)]")
    assert victim.wait(30) == -9
    container.end()
    agent.wait_for(lambda page: find(page, "container_oom_kills_total", container_id=label("hungry")) == [1], 4, "OOM kill")


def test_throttling_and_limit(running):
    node, agent = running
    container = start(node, agent, "slowed", "sleep", "60")
    container.set(("cpu.max", "10000 100000"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "10000"))
    spinner = container.run(sys.executable, "-c", SPIN)
    time.sleep(3)
    spinner.kill()
    assert agent.samples("container_resources_cpu_limit_cores", container_id=label("slowed")) == [0.1]
    (throttled,) = agent.samples("container_resources_cpu_throttled_seconds_total", container_id=label("slowed"))
    (used,) = agent.samples("container_resources_cpu_usage_seconds_total", container_id=label("slowed"))
    assert throttled > 1
    assert 0.1 < used < 1


def test_cpu_delay_counts_all_threads_and_never_falls(running):
    node, agent = running
    container = start(node, agent, "crowded", "sleep", "60")
    # Two processes on one processor: each waits while the other runs, together about a second for each second.
    pinned = ["taskset", "-c", "0", sys.executable, "-c", SPIN]
    spinners = [container.run(*pinned) for _ in range(2)]
    metric = "container_resources_cpu_delay_seconds_total"
    agent.wait_for(lambda page: (find(page, metric, container_id=label("crowded")) or [0])[0] > 2, 20, "CPU delay")
    (before,) = agent.samples(metric, container_id=label("crowded"))
    for spinner in spinners:
        spinner.kill()
        spinner.wait()
    time.sleep(6)  # a sampling period, in which the threads are found gone
    (after,) = agent.samples(metric, container_id=label("crowded"))
    assert after >= before


def test_memory_and_its_limit(running):
    node, agent = running
    container = start(node, agent, "big", "sleep", "60")
    container.set(("memory.max", "256M"), ("memory.limit_in_bytes", "256M"))
    holder = container.run(
        sys.executable,
        "-c",
        "import sys; held = b'x' * (100 << 20); print('ready', flush=True); sys.stdin.read()",
        stdin=-1,
        stdout=-1,
    )
    holder.stdout.readline()
    agent.wait_for(
        lambda page: (find(page, "container_resources_memory_rss_bytes", container_id=label("big")) or [0])[0] > 100 << 20,
        4,
        "resident memory",
    )
    assert agent.samples("container_resources_memory_limit_bytes", container_id=label("big")) == [256 << 20]
    holder.stdin.close()


def test_a_restart_is_counted(running):
    node, agent = running
    uid = "4ec7e07a-104c-417d-9869-6dc69d81b9ee"
    first = start(node, agent, "flaky", "sleep", "60", uid=uid)
    first.end()
    agent.wait_for(lambda page: not find(page, "container_info", container_id=label("flaky")), 20, "end of the container")
    start(node, agent, "flaky", "sleep", "60", uid=uid, attempt=1)
    assert agent.samples("container_restarts_total", container_id=label("flaky")) == [1]


def test_a_container_without_a_name_is_shown_as_what_it_is(running):
    node, agent = running
    container, _ = node.container("nameless", "web")
    container.run("sleep", "60")
    short = container.path.rsplit("/", 1)[1][:12]
    agent.wait_for(lambda page: find(page, "container_info", container_id=label("nameless", short)), 20, "unnamed container")
    assert agent.samples("appstatus_agent_containers", kind="unnamed")[0] >= 1


def test_without_the_right_to_load_programs_it_says_so_once_and_shows_the_rest(tmp_path):
    with node_with_agent(tmp_path, port=10394, capabilities="-all,+sys_ptrace,+dac_read_search") as (node, agent):
        page = agent.page()
        assert find(page, "appstatus_agent_feature", feature="kernel") == [0]
        assert "capabilities" in next(line for line in page.splitlines() if 'feature="kernel"' in line)
        start(node, agent, "plain", "sleep", "60", seconds=8)
        assert agent.samples("container_resources_memory_rss_bytes", container_id=label("plain"))
        sentences = [line for line in agent.log.read_text().splitlines() if "kernel is off" in line]
        assert len(sentences) == 1


def test_it_ends_cleanly_when_asked(tmp_path):
    with node_with_agent(tmp_path, port=10392) as (_, agent):
        assert agent.stop() == 0
        assert "Traceback" not in agent.log.read_text()
