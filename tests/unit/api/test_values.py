import pytest
from appstatus.api.values import format_duration, format_objective, parse_decimal, parse_duration, parse_objective
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("30d", 2592000), ("2w", 1209600)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1h30m", "5M", "1e3s", "٣m"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250ms"), (90, "90s"), (1.5, "1.5s"), (60, "1m"), (2592000, "30d"), (5400, "90m"), (0, "0ms")]
)
def test_a_duration_is_written_the_shortest_way(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=1, max_value=10**7))
def test_whole_milliseconds_survive_writing_and_reading(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, rel=1e-5)


@pytest.mark.parametrize(("text", "ratio"), [("99.5", 0.995), ("99.99", 0.9999), ("99.999999", 0.99999999), ("0.5", 0.005)])
def test_an_objective_is_a_percentage(text: str, ratio: float) -> None:
    assert parse_objective(text) == ratio
    assert format_objective(ratio) == f"{text}%"


@pytest.mark.parametrize("text", ["0", "100", "101", "-1", "99,5", "99.5%", "nan", "inf", "1e1"])
def test_other_texts_are_no_objective(text: str) -> None:
    with pytest.raises(ValueError):
        parse_objective(text)


def test_a_decimal_has_no_sign_and_no_unit() -> None:
    assert parse_decimal("0.02") == 0.02
    for text in ("-1", "+1", "1%", ".5", "5."):
        with pytest.raises(ValueError):
            parse_decimal(text)
