"""PostgreSQL and Redis as a service uses them: a small pool, short deadlines, one statement or command per request."""

from __future__ import annotations

import asyncio
import logging
import random

import asyncpg
import redis.asyncio
from redis.exceptions import RedisError

log = logging.getLogger(__name__)
KEYS = 1000  # rows in the tables, keys in Redis


class StoreFailed(Exception):
    """The store did not answer well; `status` is what the caller should answer itself."""

    def __init__(self, store: str, reason: str, status: int) -> None:
        super().__init__(f"{store}: {reason}")
        self.status = status


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        return ""  # no session state to clean up, hence no second round trip per request


class Postgres:
    """Runs `sql`; `$1` in it becomes a random integer from 1 to KEYS."""

    def __init__(self, dsn: str, sql: str, size: int, timeout: float) -> None:
        self._dsn, self._sql, self._size, self._timeout = dsn, sql, size, timeout
        self._arguments = "$1" in sql
        self._pool: asyncpg.Pool | None = None
        self._held: list[asyncpg.Connection] = []

    @property
    def connected(self) -> bool:
        return self._pool is not None

    async def connect(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=1,
            max_size=self._size,
            timeout=self._timeout,
            command_timeout=self._timeout,
            max_inactive_connection_lifetime=0,
            connection_class=_Connection,
        )

    async def run(self) -> None:
        assert self._pool is not None, "connect() first"
        arguments = [random.randint(1, KEYS)] if self._arguments else []
        try:
            async with self._pool.acquire(timeout=self._timeout) as connection:
                await connection.execute(self._sql, *arguments)
        except TimeoutError as error:
            raise StoreFailed("postgres", "timeout", 504) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise StoreFailed("postgres", f"{type(error).__name__}: {error}", 502) from error

    async def hold(self, count: int) -> None:
        """Keep `count` connections of the pool from everybody else, as code does that forgets to give them back."""
        assert self._pool is not None, "connect() first"
        while len(self._held) > count:
            await self._pool.release(self._held.pop())
        while len(self._held) < min(count, self._size):
            self._held.append(await self._pool.acquire())

    async def lock(self, table: str, seconds: float) -> None:
        """Hold an exclusive lock on `table` for `seconds`, in a session of its own."""
        connection = await asyncpg.connect(self._dsn, timeout=self._timeout)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(seconds)
        finally:
            await connection.close()


class Redis:
    """Runs `command`, words apart by blanks; `{n}` in it becomes a random integer from 1 to KEYS."""

    def __init__(self, url: str, command: str, size: int, timeout: float) -> None:
        self._command = command
        self._redis = redis.asyncio.Redis(
            connection_pool=redis.asyncio.BlockingConnectionPool.from_url(
                url, max_connections=size, timeout=timeout, socket_timeout=timeout, socket_connect_timeout=timeout
            )
        )

    async def connect(self) -> None:
        await self._redis.ping()

    async def run(self) -> None:
        try:
            await self._redis.execute_command(*self._command.format(n=random.randint(1, KEYS)).split())
        except (TimeoutError, redis.exceptions.TimeoutError) as error:
            raise StoreFailed("redis", "timeout", 504) from error
        except (RedisError, OSError) as error:
            raise StoreFailed("redis", f"{type(error).__name__}: {error}", 502) from error
