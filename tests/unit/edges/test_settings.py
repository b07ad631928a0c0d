"""The operator's environment, the command line, and the connection that a Project describes."""

from base64 import b64encode
from pathlib import Path

import pytest
from appstatus import cli, once
from appstatus.api.names import AppKey
from appstatus.api.project import parse_project
from appstatus.config import BadSetting, from_environment
from appstatus.kube import ApiError, Unreachable, own_path, path
from appstatus.sources.promhttp import Endpoint
from appstatus.stores import Store, Stores


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
    assert once.moment(text) == seconds


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

    def reconnect(self, endpoint):
        self.endpoint = endpoint

    def close(self):
        self.closed = True


@pytest.fixture
def assign():
    def run(kube, *projects):
        stores = Stores(kube, "appstatus", opener=Opened)
        found = stores.assign(projects, 0.0)
        assert not found.notes
        return found.stores, found.problems

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
    (store,) = stores.assign([project()], 0.0).stores
    assert not stores.assign([], 0.0).stores and store.closed


SECURED = {"auth": {"secretRef": {"name": "login"}}}


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("no route"),
        ApiError(503, "ServiceUnavailable", "etcd has no leader"),
        ApiError(429, "TooManyRequests", "too many requests"),
        ApiError(404, "NotFound", ""),
        ApiError(403, "Forbidden", "secrets is forbidden"),
    ],
)
def test_a_secret_that_cannot_be_read_any_more_keeps_the_store_and_is_told(monkeypatch, error):
    kube = Secrets(login={"token": "t"})
    stores = Stores(kube, "appstatus", opener=Opened)
    (first,) = stores.assign([project(**SECURED)], 0.0).stores
    monkeypatch.setattr("appstatus.stores.REFRESH", 0.0)
    kube.error = error
    found = stores.assign([project(**SECURED)], 15.0)
    assert found.stores == [first] and not first.closed and first.endpoint.bearer == "t" and not found.problems
    assert "last credentials" in found.notes["default"] and "appstatus/login" in found.notes["default"]
    kube.error = None
    assert not stores.assign([project(**SECURED)], 30.0).notes


@pytest.mark.parametrize("error", [Unreachable("no route"), ApiError(503, "ServiceUnavailable", "")])
def test_credentials_that_were_never_read_are_a_problem(error):
    kube = Secrets(login={"token": "t"})
    kube.error = error
    found = Stores(kube, "appstatus", opener=Opened).assign([project(**SECURED)], 0.0)
    assert not found.stores and "appstatus/login" in found.problems["default"]


def test_rotated_credentials_keep_the_store_with_all_it_has_counted(monkeypatch):
    kube = Secrets(login={"token": "old"})
    stores = Stores(kube, "appstatus", opener=Opened)
    (first,) = stores.assign([project(**SECURED)], 0.0).stores
    monkeypatch.setattr("appstatus.stores.REFRESH", 0.0)
    kube.secrets["login"] = {"token": "new"}
    assert stores.assign([project(**SECURED)], 15.0).stores == [first]
    assert first.endpoint.bearer == "new" and not first.closed


def test_another_address_or_tenant_is_another_store():
    stores = Stores(Secrets(), "appstatus", opener=Opened)
    (first,) = stores.assign([project()], 0.0).stores
    (second,) = stores.assign([project(headers={"X-Scope-OrgID": "other"})], 15.0).stores
    assert first.closed and not second.closed
    (third,) = stores.assign([project(url="http://other:9090")], 30.0).stores
    assert second.closed and not third.closed


def test_a_real_store_goes_on_with_other_credentials():
    store = Store.open(Endpoint("http://127.0.0.1:9", bearer="old"), 15.0, 0.0)
    ledger, prometheus = store.ledger, store.prometheus
    store.reconnect(Endpoint("http://127.0.0.1:9", bearer="new"))
    assert store.ledger is ledger and store.prometheus is prometheus and prometheus.connection.endpoint.bearer == "new"
    store.close()
