"""What the agent tells the kernel side before it attaches anything."""

import appstatus_agent.agent
from appstatus_agent.agent import Agent
from appstatus_agent.kernel import KernelError


def test_networks_are_known_before_the_first_packet(tmp_path, monkeypatch):
    asked = []

    def refuse(config):
        asked.append(config)
        raise KernelError("not here")

    monkeypatch.setattr(appstatus_agent.agent.Kernel, "load", refuse)
    agent = Agent(tmp_path, tmp_path, ["10.244.0.0/16"])
    agent._start_kernel()
    (config,) = asked
    assert "10.244.0.0/16" in config.cluster_cidrs
    assert "127.0.0.1" in config.node_ips
