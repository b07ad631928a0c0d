"""Arguments of `appstatus-agent`: what is wrong is said where it was written."""

import pytest
from appstatus_agent.main import parse_arguments
from appstatus_agent.server import parse_listen


@pytest.mark.parametrize(
    "text,address",
    [("0.0.0.0:10301", ("0.0.0.0", 10301)), (":80", ("0.0.0.0", 80)), ("[::]:10301", ("::", 10301)), ("[::1]:0", ("::1", 0))],
)
def test_listen(text, address):
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "10301", "host:", "host:http", "1.2.3.4:70000"])
def test_a_wrong_listen_address_is_explained(text, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--listen", text])
    assert "is not ADDR:PORT, as in 0.0.0.0:10301" in capsys.readouterr().err


def test_networks():
    given = ["10.0.0.0/8", "fd00::/8"]
    assert parse_arguments(["--cluster-cidr", given[0], "--cluster-cidr", given[1]]).cluster_cidr == given
    with pytest.raises(SystemExit):
        parse_arguments(["--cluster-cidr", "10.0.0.1/8"])
