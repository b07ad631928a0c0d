"""The exposition text of what a cycle found."""

from appstatus.api.names import AppKey
from appstatus.metrics import Findings, OperatorMetrics

APP = AppKey("shop", "Deployment", "checkout")


def text(findings):
    metrics = OperatorMetrics("1.0", "prod")
    metrics.show(findings)
    return metrics.text().decode()


def test_what_is_shown_of_an_application():
    shown = text(
        Findings(
            health={APP: "Violated"},
            violated={(APP, "availability"): True},
            totals={(APP, "availability"): (90.0, 100.0)},
            budget={(APP, "availability"): -0.5},
            incidents=[
                {
                    "namespace": "shop",
                    "application": "checkout.deployment",
                    "incident": "9f2c41",
                    "role": "Opener",
                    "cause": "shop/db.statefulset",
                    "class": "storage",
                }
            ],
        )
    )
    for line in (
        'appstatus_application_health{application="checkout.deployment",health="Violated",namespace="shop"} 1.0',
        'appstatus_slo_violation_active{application="checkout.deployment",namespace="shop",slo="availability"} 1.0',
        'appstatus_slo_good_total{application="checkout.deployment",namespace="shop",slo="availability"} 90.0',
        'appstatus_slo_events_total{application="checkout.deployment",namespace="shop",slo="availability"} 100.0',
        'appstatus_slo_error_budget_remaining{application="checkout.deployment",namespace="shop",slo="availability"} -0.5',
        'appstatus_incident_active{application="checkout.deployment",cause="shop/db.statefulset",class="storage",incident="9f2c41",'
        'namespace="shop",role="Opener"} 1.0',
        'appstatus_build_info{cluster="prod",version="1.0"} 1.0',
    ):
        assert line in shown.splitlines()


def test_what_is_gone_leaves_no_series():
    metrics = OperatorMetrics("1.0", "")
    metrics.show(Findings(health={APP: "Healthy"}))
    metrics.show(Findings())
    assert "checkout" not in metrics.text().decode()
