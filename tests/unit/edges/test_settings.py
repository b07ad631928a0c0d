"""The operator's environment, the command line, and the connection that a Project describes."""

from base64 import b64encode
from pathlib import Path

import pytest
from appstatus import cli
from appstatus.api.names import AppKey
from appstatus.api.project import parse_project
from appstatus.config import BadSetting, from_environment
from appstatus.kube import ApiError, Unreachable, own_path, path
from appstatus.stores import Stores


def test_defaults():
    config = from_environment({})
    assert (config.host, config.port, config.log_format, config.lease) == ("0.0.0.0", 8080, "json", "appstatus-operator")
    assert config.agent.priority_class == "system-node-critical" and not config.agent.image


def test_two_processes_of_one_pod_are_told_apart():
    env = {"POD_NAME": "appstatus-operator-1"}
    one, two = from_environment(env).identity, from_environment(env).identity
    assert one != two and one.startswith("appstatus-operator-1_")


def test_what_the_chart_sets_arrives():
    config = from_environment(
        {
            "POD_NAMESPACE": "observability",
            "APPSTATUS_AGENT_IMAGE": "r/agent:1",
            "APPSTATUS_AGENT_IMAGE_PULL_SECRETS": "one two",
            "APPSTATUS_AGENT_EXTRA_CAPABILITIES": "SYS_RESOURCE",
            "APPSTATUS_AGENT_PRIORITY_CLASS": "",
            "APPSTATUS_LISTEN": "[::]:9000",
        }
    )
    assert config.namespace == config.agent.namespace == "observability"
    assert config.agent.pull_secrets == ("one", "two") and config.agent.extra_capabilities == ("SYS_RESOURCE",)
    assert config.agent.priority_class == "" and (config.host, config.port) == ("::", 9000)


@pytest.mark.parametrize(
    ("name", "value"),
    [("APPSTATUS_LISTEN", "here"), ("APPSTATUS_LOG_FORMAT", "xml"), ("APPSTATUS_LOG_LEVEL", "loud")],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(BadSetting, match=name):
        from_environment({name: value})


def test_paths_of_the_api_server():
    assert path("v1", "pods", "shop", "web") == "/api/v1/namespaces/shop/pods/web"
    assert path("apps/v1", "deployments") == "/apis/apps/v1/deployments"
    assert own_path("slos", "shop", "a", "status") == "/apis/appstatus.dev/v1alpha1/namespaces/shop/slos/a/status"


@pytest.mark.parametrize(("text", "seconds"), [("1795254159", 1795254159.0), ("2026-11-21T09:42:39Z", 1795254159.0)])
def test_moments_of_the_command_line(text, seconds):
    assert cli._moment(text) == seconds


def test_the_table_shows_the_worst_first_and_one_line_each():
    def status(health, cause=""):
        return {"health": health, "sloSummary": "1/1", "budget": "-", "cause": cause}

    table = cli._table(
        {
            AppKey("shop", "Deployment", "a"): status("Healthy"),
            AppKey("shop", "Deployment", "b"): status("Unknown"),
            AppKey("shop", "Deployment", "c"): status("Violated", "redis.statefulset: down"),
            AppKey("shop", "Deployment", "d"): status("Warning", "CPUNode"),
        }
    )
    assert table == (
        "NAMESPACE   NAME           HEALTH     SLOS   BUDGET   CAUSE\n"
        "shop        c.deployment   Violated   1/1    -        redis.statefulset: down\n"
        "shop        d.deployment   Warning    1/1    -        CPUNode\n"
        "shop        b.deployment   Unknown    1/1    -\n"
        "shop        a.deployment   Healthy    1/1    -\n"
    )


class Secrets:
    """The API server, for Secrets only."""

    def __init__(self, **secrets):
        self.secrets = secrets
        self.error = None

    def request(self, method, where, **_):
        if self.error:
            raise self.error
        name = where.rpartition("/")[2]
        if name not in self.secrets:
            raise ApiError(404, "NotFound", "")
        return {"data": {key: b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}}


def project(name="default", **prometheus):
    raw = {"metadata": {"name": name, "uid": name}, "spec": {"prometheus": {"url": "http://prometheus:9090", **prometheus}}}
    return parse_project(raw)


class Opened:
    """Stands for a store; what matters here is with which endpoint it was opened."""

    def __init__(self, endpoint, step, now):
        self.endpoint, self.closed, self.projects = endpoint, False, []

    def close(self):
        self.closed = True


@pytest.fixture
def assign():
    def run(kube, *projects):
        stores = Stores(kube, "appstatus", opener=Opened)
        return stores.assign(projects, 0.0)

    return run


def test_basic_authentication_and_tls_come_from_secrets(assign):
    kube = Secrets(login={"username": "u", "password": "p"}, tls={"ca.crt": "CA", "tls.crt": "C", "tls.key": "K"})
    (store,), problems = assign(kube, project(auth={"secretRef": {"name": "login"}}, tls={"secretRef": {"name": "tls"}}))
    endpoint = store.endpoint
    assert not problems and (endpoint.username, endpoint.password, endpoint.bearer) == ("u", "p", "")
    assert Path(endpoint.ca).read_text() == "CA" and Path(endpoint.key).stat().st_mode & 0o077 == 0


def test_a_token_is_a_bearer_token(assign):
    (store,), _ = assign(Secrets(login={"token": "t\n"}), project(auth={"secretRef": {"name": "login"}}))
    assert store.endpoint.bearer == "t"


@pytest.mark.parametrize(
    ("secrets", "message"),
    [({}, "does not exist"), ({"login": {"user": "u"}}, "neither token nor username and password")],
)
def test_a_wrong_secret_is_answered_and_stops_no_other_project(assign, secrets, message):
    stores, problems = assign(Secrets(**secrets), project("bad", auth={"secretRef": {"name": "login"}}), project("good"))
    assert [p.meta.name for store in stores for p in store.projects] == ["good"]
    assert message in problems["bad"] and "appstatus/login" in problems["bad"]


def test_projects_with_the_same_prometheus_share_it(assign):
    stores, _ = assign(Secrets(), project("a"), project("b"), project("c", url="http://other:9090"))
    assert sorted(len(store.projects) for store in stores) == [1, 2]


def test_a_project_that_goes_takes_its_store_along():
    stores = Stores(Secrets(), "appstatus", opener=Opened)
    (store,), _ = stores.assign([project()], 0.0)
    assert stores.assign([], 0.0) == ([], {}) and store.closed


def test_a_secret_that_cannot_be_read_for_a_while_changes_nothing(monkeypatch):
    kube = Secrets(login={"token": "t"})
    stores = Stores(kube, "appstatus", opener=Opened)
    first, _ = stores.assign([project(auth={"secretRef": {"name": "login"}})], 0.0)
    monkeypatch.setattr("appstatus.stores.REFRESH", 0.0)
    kube.error = Unreachable("no route")
    assert stores.assign([project(auth={"secretRef": {"name": "login"}})], 0.0) == (first, {})
