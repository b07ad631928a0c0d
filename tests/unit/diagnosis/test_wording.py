import pytest
from appstatus.api.names import EXTERNAL, AppKey
from appstatus.diagnosis.classes import CLASSES
from appstatus.diagnosis.result import Cause, Diagnosis, Evidence
from appstatus.diagnosis.signals import SIGNALS
from appstatus.diagnosis.wording import _NAMES, evidence, line, quantity, share, title, todo
from worlds import key

CHECKOUT, POSTGRES = key("checkout"), key("postgres", "StatefulSet")
AT = 1_800_000_060.0  # 08:01 UTC


def cause(**changed: object) -> Cause:
    fields: dict[str, object] = {
        "app": POSTGRES,
        "klass": "cpu-throttled",
        "share": 0.81,
        "path": (CHECKOUT, POSTGRES),
        "evidence": (
            Evidence("latency", "checkout->postgres", 0.004, 0.34, "s"),
            Evidence("throttled", "postgres-0", 0.0, 0.6, "s/s"),
        ),
        "instance": "postgres-0",
        "node": "node-3",
    }
    return Cause(**(fields | changed))  # type: ignore[arg-type]


def diagnosis(*causes: Cause, dominant: bool = True, thin: str = "") -> Diagnosis:
    return Diagnosis(CHECKOUT, AT, AT + 60, causes, dominant, thin=thin)


def test_one_line_says_who_what_how_much_why_since_when_and_where() -> None:
    assert line(diagnosis(cause())) == (
        "postgres CPU throttled by its own limit: 81% of the extra time is in checkout->postgres; "
        "postgres-0 throttled 0s/s->0.6s/s since 08:01 on node-3"
    )


def test_a_neighbour_is_the_cause_and_the_share_lies_with_those_that_suffer() -> None:
    batch = key("batch", "Job")
    noisy = cause(app=batch, path=(CHECKOUT, POSTGRES, batch), klass="noisy-neighbour")
    assert line(diagnosis(noisy)).startswith("batch noisy neighbour: 81% of the extra time is in checkout->postgres; ")


def test_no_dominant_cause_names_the_best_and_why() -> None:
    found = diagnosis(cause(share=0.25), cause(app=CHECKOUT, share=0.2), dominant=False)
    assert line(found) == (
        "no dominant cause; best: postgres CPU throttled by its own limit (25%), checkout CPU throttled by its own limit (20%)"
    )
    assert line(diagnosis(cause(), dominant=False, thin="only 2 bad requests so far")).startswith(
        "no dominant cause (only 2 bad requests so far); best: postgres"
    )
    assert line(diagnosis(dominant=False, thin="the application is gone")) == "no cause found: the application is gone"


def test_a_suspect_is_named_with_its_evidence_and_without_a_share() -> None:
    suspect = cause(share=0.0, klass="cpu-demand", evidence=(Evidence("cpu-usage", "ledger", 0.1, 0.9, "cores"),))
    said = line(diagnosis(suspect, dominant=False, thin="nobody's calls are known"))
    assert said.endswith("needs more CPU than before (ledger CPU 0.1 cores->0.9 cores)")
    assert "%" not in said


def test_the_column_of_kubectl_names_the_object() -> None:
    assert title(cause()) == "postgres.statefulset: CPU throttled by its own limit"
    outside = cause(app=AppKey("", EXTERNAL, "api.stripe.com:443"), klass="external")
    assert title(outside) == "api.stripe.com:443: fails outside the cluster"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "81% of the extra time is in checkout->postgres"),
        ({"mode": "failures"}, "81% of the failed requests are in checkout->postgres"),
        ({"evidence": (Evidence("latency", "postgres", 0.1, 0.2, "s"),)}, "81% of the extra time is in postgres itself"),
        ({"evidence": (), "path": (POSTGRES,)}, "81% of the extra time is in postgres itself"),
        ({"evidence": ()}, "81% of the extra time is in checkout->postgres"),
        ({"path": (key("web"), CHECKOUT, POSTGRES)}, "81% of the extra time is in checkout->postgres"),
    ],
)
def test_the_share_says_of_what_and_where(changed: dict[str, object], expected: str) -> None:
    assert share(cause(**changed)) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.34, "s", "340ms"), (0.0021, "s", "2.1ms"), (2.5, "s", "2.5s"), (None, "s", "?"),
        (12.34, "%", "12.3%"), (0.6, "s/s", "0.6s/s"),
        (1.75, "cores", "1.75 cores"), (3.0, "", "3"), (AT, "time", "08:01"), (20.0, "req/s", "20 req/s"),
    ],
)  # fmt: skip
def test_quantities(value: float | None, unit: str, expected: str) -> None:
    assert quantity(value, unit) == expected


def test_a_change_is_told_with_its_time() -> None:
    assert evidence(Evidence("rollout", "cart:v2", None, AT, "time")) == "cart:v2 at 08:01"


def test_every_class_has_words_that_fit_into_an_event() -> None:
    for klass, (name, what) in CLASSES.items():
        assert 0 < len(name) <= 40, klass
        assert 0 < len(what) <= 120, klass
        assert todo(cause(klass=klass)) == what


def test_every_signal_that_carries_values_has_a_name() -> None:
    without_values = {"external", "network", "rollout"}
    assert set(SIGNALS) - without_values <= set(_NAMES)
