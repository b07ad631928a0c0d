"""``appstatus explain NAME``: which application a name means, and what is answered when it means none."""

import pytest
from appstatus.api.names import AppKey
from appstatus.cli import main
from appstatus.explain import choose
from appstatus.once import FAILED, Fault

CHECKOUT = AppKey("shop", "Deployment", "checkout")
STAGING = AppKey("staging", "Deployment", "checkout")
POSTGRES = AppKey("shop", "StatefulSet", "postgres")
APPS = {CHECKOUT: "Shop checkout", POSTGRES: "", AppKey("shop", "Deployment", "check-in"): ""}


@pytest.mark.parametrize(
    "name",
    [
        "checkout", "checkout.deployment", "deployment/checkout", "Deployment/checkout", "deploy/checkout", "shop/checkout",
        "shop/checkout.deployment", "shop checkout",
    ],
)  # fmt: skip
def test_an_application_goes_by_every_name_its_users_know(name):
    assert choose(APPS, name, None) == CHECKOUT
    assert choose(APPS, name, "shop") == CHECKOUT


def refusal(apps, name, namespace=None):
    with pytest.raises(Fault) as refused:
        choose(apps, name, namespace)
    return str(refused.value)


def test_an_unknown_name_lists_near_ones():
    assert refusal(APPS, "chekout") == (
        "no application is called chekout; near: shop/checkout.deployment, shop/check-in.deployment"
    )
    assert refusal(APPS, "postgress").endswith("near: shop/postgres.statefulset")
    assert refusal(APPS, "xyzzy") == "no application is called xyzzy; there are 3, see `appstatus audit`"
    assert refusal({}, "checkout") == "no application found: Prometheus has no metrics of node agents"


def test_one_name_in_two_namespaces_must_be_told_apart():
    both = {**APPS, STAGING: ""}
    assert refusal(both, "checkout") == (
        "2 applications are called checkout: shop/checkout.deployment, staging/checkout.deployment; "
        "say which, by its whole name or with --namespace"
    )
    assert choose(both, "checkout", "staging") == STAGING
    assert choose(both, "staging/checkout", None) == STAGING
    assert refusal(both, "postgres", "staging") == "postgres is not in namespace staging, but there is shop/postgres.statefulset"


def test_one_name_of_two_kinds_is_told_apart_by_the_kind():
    both = {CHECKOUT: "", CHECKOUT._replace(kind="CronJob"): ""}
    assert "2 applications" in refusal(both, "checkout", "shop")
    assert choose(both, "cj/checkout", None).kind == "CronJob"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prometheus", "http://127.0.0.1:9"], "Prometheus cannot be asked: http://127.0.0.1:9"),
        (["--prometheus", "http://127.0.0.1:9", "--kubeconfig", "/nowhere"], "/nowhere"),
        (["--prometheus", "http://127.0.0.1:9", "--header", "X"], "--header must be NAME=VALUE"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(arguments, told, capsys):
    assert main(["explain", "checkout", *arguments]) == FAILED
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("appstatus: ") and told in err and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["explain"], ["explain", "checkout"], ["explain", "a", "--prometheus", "x", "-o", "pdf"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == FAILED and "usage: appstatus explain" in capsys.readouterr().err
