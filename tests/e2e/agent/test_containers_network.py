"""What containers talk to, by name: translations, listeners and DNS answers, in a network namespace that plays the node's own."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from fake_node import Agent, Node, find, needs_root

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(needs_root(), reason="makes network namespaces and loads BPF programs: needs root"),
]

SERVICE, SERVER_PORT, REQUESTS = "10.96.0.10", 8099, 20
RULES = f"""
table ip appstatus_test {{
  chain output {{
    type nat hook output priority -100
    ip daddr {SERVICE} tcp dport 80 dnat to 127.0.0.1:{SERVER_PORT}
  }}
}}
"""
SERVER = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('0.0.0.0', {SERVER_PORT}), Handler)
print('ready', flush=True)
server.serve_forever()
"""
CLIENT = f"""
import sys, urllib.request
for _ in range({REQUESTS}):
    urllib.request.urlopen('http://{SERVICE}/').read()
print('done', flush=True)
sys.stdin.read()
"""
RESOLVER = """
import socket, struct
def name(text):
    return b''.join(bytes([len(label)]) + label.encode() for label in text.split('.')) + b'\\0'
question = name('api.example.org') + struct.pack('!HH', 1, 1)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(('127.0.0.1', 53))
client.send(struct.pack('!HHHHHH', 7, 0x0100, 1, 0, 0, 0) + question)
_, asker = server.recvfrom(512)
answer = b'\\xc0\\x0c' + struct.pack('!HHIH', 1, 1, 60, 4) + socket.inet_aton('203.0.113.9')
server.sendto(struct.pack('!HHHHHH', 7, 0x8180, 1, 1, 0, 0) + question + answer, asker)
client.recv(512)
"""


@contextlib.contextmanager
def network_namespace():
    """A new network namespace; the prefix of a command line that runs inside it."""
    home = Path("/proc/self/ns/net").stat().st_ino
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        while Path(f"/proc/{holder.pid}/ns/net").stat().st_ino == home:
            assert holder.poll() is None
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    node = Node(folder / "log")
    agent = None
    with network_namespace() as inside:
        try:
            for command in ("ip link set lo up", "ip address add 10.96.0.1/24 dev lo", "ip address add 10.244.7.7/32 dev lo"):
                subprocess.run([*inside, *command.split()], check=True)
            subprocess.run([*inside, "nft", "-f", "-"], input=RULES, text=True, check=True)
            server = start(node, "server", [*inside, sys.executable, "-c", SERVER])
            assert server.stdout.readline()
            agent = Agent(node.logs, 10395, folder / "agent.log", inside=inside)
            agent.wait_for(lambda page: find(page, "appstatus_agent_feature", feature="actual_destination") == [1], 4, "conntrack")
            yield node, agent, inside
        finally:
            if agent:
                agent.stop()
            node.close()


def start(node, pod, command):
    container, tell_name = node.container(pod, "web")
    process = container.run(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tell_name()
    return process


def test_a_listener_that_was_there_before_the_agent_is_shown_by_the_addresses_of_its_namespace(running):
    _, agent, _ = running
    shown = {"container_id": "/k8s/shop/server/web", "proxy": ""}
    agent.wait_for(lambda page: find(page, "container_net_tcp_listen_info", **shown), 4, "listener")
    lines = [
        line for line in agent.page().splitlines() if line.startswith("container_net_tcp_listen_info") and "shop/server" in line
    ]
    assert {line.split('listen_addr="')[1].split('"')[0] for line in lines} == {"10.96.0.1:8099", "10.244.7.7:8099"}


def test_requests_to_a_service_show_the_address_that_answers(running):
    node, agent, inside = running
    client = start(node, "client", [*inside, sys.executable, "-c", CLIENT])
    assert client.stdout.readline() == "done\n"
    to = {"container_id": "/k8s/shop/client/web", "destination": f"{SERVICE}:80", "status": "2xx"}
    agent.wait_for(lambda page: sum(find(page, "container_http_requests_total", **to)) == REQUESTS, 4, "requests")
    page = agent.page()
    known = sum(find(page, "container_http_requests_total", **to, actual_destination=f"127.0.0.1:{SERVER_PORT}"))
    print(f"{known:.0f} of {REQUESTS} requests, each on a connection of its own, show their actual destination")
    assert known >= REQUESTS / 2
    inbound = find(page, "container_http_inbound_requests_total", container_id="/k8s/shop/server/web", status="2xx")
    assert sum(inbound) == REQUESTS
    assert sum(find(page, "container_net_tcp_accepted_connects_total", container_id="/k8s/shop/server/web")) == REQUESTS
    client.stdin.close()


def test_a_dns_answer_names_an_address(running):
    node, agent, inside = running
    asking = start(node, "asking", [*inside, sys.executable, "-c", RESOLVER])
    assert asking.wait(10) == 0
    agent.wait_for(lambda page: find(page, "ip_to_fqdn", ip="203.0.113.9", fqdn="api.example.org") == [1], 4, "name")
