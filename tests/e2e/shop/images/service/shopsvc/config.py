"""How a service is told what it is: environment variables, read once at the start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


class ConfigError(ValueError):
    """An environment variable that makes no sense, named."""


@dataclass(frozen=True)
class Config:
    """What one unit of work is: a request of a server, or one round of a batch job.

    `calls` are stages one after the other; the URLs of one stage are called at the same time.
    """

    name: str
    port: int
    calls: tuple[tuple[str, ...], ...]
    call_timeout: float  # seconds, as all of these
    work_ms: float
    every_seconds: float  # 0: only when asked
    postgres_dsn: str
    sql: str
    redis_url: str
    redis_command: str
    pool_size: int
    store_timeout: float
    faults: str


def read(environment: Mapping[str, str]) -> Config:
    def number(name: str, default: float) -> float:
        text = environment.get(name, "")
        try:
            value = float(text) if text else default
        except ValueError:
            raise ConfigError(f"{name}={text!r} is not a number") from None
        if value < 0:
            raise ConfigError(f"{name}={text!r} is negative")
        return value

    if not environment.get("NAME"):
        raise ConfigError("NAME is not set")
    config = Config(
        name=environment["NAME"],
        port=int(number("PORT", 8080)),
        calls=_calls(environment.get("CALLS", "[]")),
        call_timeout=number("CALL_TIMEOUT", 2.0),
        work_ms=number("WORK_MS", 0.0),
        every_seconds=number("EVERY_SECONDS", 0.0),
        postgres_dsn=environment.get("POSTGRES_DSN", ""),
        sql=environment.get("SQL", ""),
        redis_url=environment.get("REDIS_URL", ""),
        redis_command=environment.get("REDIS_COMMAND", ""),
        pool_size=int(number("POOL_SIZE", 8)),
        store_timeout=number("STORE_TIMEOUT", 1.0),
        faults=environment.get("FAULTS", ""),
    )
    if bool(config.postgres_dsn) != bool(config.sql):
        raise ConfigError("POSTGRES_DSN and SQL go together")
    if bool(config.redis_url) != bool(config.redis_command):
        raise ConfigError("REDIS_URL and REDIS_COMMAND go together")
    return config


def _calls(text: str) -> tuple[tuple[str, ...], ...]:
    shape = 'CALLS must be JSON, a list of stages, each a list of URLs: [["http://a:8080/", "http://b:8080/"]]'
    try:
        stages = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{shape}; {error}") from None
    if not isinstance(stages, list) or not all(isinstance(stage, list) and stage for stage in stages):
        raise ConfigError(f"{shape}; it is {text}")
    for url in [url for stage in stages for url in stage]:
        if not isinstance(url, str) or urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
            raise ConfigError(f"{shape}; {url!r} is no http URL")
    return tuple(tuple(stage) for stage in stages)
