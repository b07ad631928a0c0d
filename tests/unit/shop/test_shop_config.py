"""How a service of the shop is configured."""

import pytest
from shopsvc.config import ConfigError, read


def test_stages_of_calls_keep_their_order_and_their_fan_out():
    config = read({"NAME": "checkout", "CALLS": '[["http://cart:8080/a", "http://catalog:8080/b"], ["http://payment:8080/c"]]'})
    assert config.calls == (("http://cart:8080/a", "http://catalog:8080/b"), ("http://payment:8080/c",))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "NAME"),
        ({"NAME": "a", "PORT": "http"}, "PORT='http'"),
        ({"NAME": "a", "WORK_MS": "-1"}, "WORK_MS='-1'"),
        ({"NAME": "a", "CALLS": "http://b"}, "CALLS"),
        ({"NAME": "a", "CALLS": '["http://b"]'}, "stages"),
        ({"NAME": "a", "CALLS": "[[]]"}, "stages"),
        ({"NAME": "a", "CALLS": '[["ftp://b"]]'}, "ftp://b"),
        ({"NAME": "a", "SQL": "SELECT 1"}, "POSTGRES_DSN"),
        ({"NAME": "a", "REDIS_URL": "redis://redis"}, "REDIS_COMMAND"),
    ],
)
def test_a_wrong_variable_is_named(environment, named):
    with pytest.raises(ConfigError, match=named):
        read(environment)
