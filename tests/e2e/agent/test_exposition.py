"""The page that Prometheus reads, as promtool and a plain client see it."""

import gzip
import http.client
import http.server
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from appstatus_agent.metrics import METRICS
from fake_node import find, needs_root, node_with_agent

pytestmark = [pytest.mark.bpf, pytest.mark.skipif(needs_root(), reason="loads BPF programs: needs root")]


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with node_with_agent(tmp_path_factory.mktemp("node"), port=10393) as (_, agent):
        yield agent


def test_promtool_finds_no_fault(agent):
    checked = subprocess.run(["promtool", "check", "metrics"], input=agent.page(), capture_output=True, text=True)
    # The duration histograms end in _total: the names are coroot-node-agent's. The node's other containers may speak any protocol.
    complaints = [line for line in checked.stderr.splitlines() if "_duration_seconds_total" not in line]
    assert complaints == []


def test_every_series_is_documented_and_names_the_machine(agent):
    lines = [line for line in agent.page().splitlines() if not line.startswith("#")]
    for line in lines:
        name = line.partition("{")[0]
        family = name if name in METRICS else name.rpartition("_")[0]
        assert family in METRICS, name
        assert 'machine_id="' in line
    assert len({line.split('machine_id="')[1].split('"')[0] for line in lines}) == 1


def test_it_is_compressed_only_when_asked_for(agent):
    request = urllib.request.Request(f"{agent.url}/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert b"node_info" in gzip.decompress(answer.read())
    with urllib.request.urlopen(f"{agent.url}/metrics") as answer:
        assert answer.headers["Content-Encoding"] is None
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_health_and_other_paths(agent):
    with urllib.request.urlopen(f"{agent.url}/healthz") as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{agent.url}/")


def test_every_feature_says_whether_it_is_on(agent):
    for line in agent.page().splitlines():
        if line.startswith("appstatus_agent_feature{"):
            assert line.endswith(" 1") == ('reason=""' in line), line


def test_figures_of_the_node(agent):
    page = agent.page()
    assert find(page, "node_uptime_seconds")[0] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=30)
    assert find(page, "node_resources_cpu_logical_cores") == [float(subprocess.check_output(["nproc", "--all"]))]
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert find(page, "node_resources_memory_total_bytes") == [total]


class Failing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500)

    def log_message(self, *_):
        pass


class Errors:
    """A server that answers nothing but 500, and how many of its answers the agent tells to which address."""

    def __init__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._address = f"127.0.0.1:{self._server.server_port}"

    def make(self, count: int) -> None:
        for _ in range(count):
            with pytest.raises(urllib.error.HTTPError, match="500"):
                urllib.request.urlopen(f"http://{self._address}/")

    def read(self, source: str) -> list[float]:
        connection = _ask(source)
        page = connection.getresponse().read().decode()
        # The server counts the page as read only behind its last byte: what it answers next on this connection comes after that.
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()
        return find(page, "container_http_requests_total", destination=self._address, status="5xx")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _ask(source: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", 10393, source_address=(source, 0))
    connection.request("GET", "/metrics")
    return connection


@pytest.fixture
def errors():
    errors = Errors()
    yield errors
    errors.close()


def test_the_first_error_begins_at_0_for_each_reader(agent, errors):
    """Two replicas of Prometheus, told apart by their addresses."""
    errors.make(1)
    assert [errors.read(f"127.0.0.{host}") for host in (2, 3, 2, 3)] == [[0], [0], [1], [1]]


def test_a_prometheus_that_comes_back_with_another_address_sees_no_fall(agent, errors):
    errors.read("127.0.0.12")
    seen = []
    for host in (12, 12, 13, 13, 12):
        errors.make(5)
        seen += errors.read(f"127.0.0.{host}")
    assert seen == [0, 10, 15, 20, 25]


def test_a_scrape_that_was_given_up_has_not_shown_the_first_errors(agent, errors):
    errors.read("127.0.0.14")
    errors.make(5)
    _ask("127.0.0.14").close()
    agent.page()  # waits for its turn behind that one
    assert [errors.read("127.0.0.14") for _ in range(2)] == [[0], [5]]


def test_memory_when_idle(agent):
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 64 * 1024
