"""What the shop's client and proxy do with real connections on the loopback interface."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from shopsvc import client
from shopsvc.faults import Faults
from shopsvc.proxy import Proxy

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def listening(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]):
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def server_of(answers: list[list[bytes]]):
    """Connection n answers its requests with answers[n] (none beyond), then closes after one more without a word."""

    async def handle(reader, writer):
        for answer in answers.pop(0) if answers else []:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    return handle


@pytest.fixture(autouse=True)
def keep_alive(monkeypatch):
    monkeypatch.setattr(client, "LAST_SHARE", 0.0)


async def ask(port: int, times: int) -> list[int]:
    session = client.session()
    try:
        return [await client.get(session, f"http://127.0.0.1:{port}/", timeout=5.0) for _ in range(times)]
    finally:
        await session.close()


def test_a_connection_that_was_closed_while_idle_is_replaced():
    async def scenario():
        async with listening(server_of([[GOOD], [GOOD]])) as port:
            return await ask(port, times=2)

    assert asyncio.run(scenario()) == [200, 200]


def test_a_new_connection_that_is_closed_unanswered_is_a_failure():
    async def scenario():
        async with listening(server_of([[]])) as port:
            await ask(port, times=1)

    with pytest.raises(client.CallFailed) as failed:
        asyncio.run(scenario())
    assert (failed.value.reason, failed.value.status) == ("closed", 502)


def test_nobody_listening_is_a_failed_connect():
    async def scenario():
        async with listening(server_of([])) as port:
            pass
        await ask(port, times=1)

    with pytest.raises(client.CallFailed) as failed:
        asyncio.run(scenario())
    assert (failed.value.reason, failed.value.status) == ("connect", 502)


async def through_proxy(faults: Faults, payload: bytes) -> bytes:
    """Send `payload` to an echo server through a proxy with `faults`; what comes back."""

    async def echo(reader, writer):
        writer.write(await reader.readexactly(len(payload)))
        await writer.drain()
        writer.close()

    async with listening(echo) as upstream:
        proxy = Proxy("127.0.0.1", upstream)
        proxy.fault_file.current = faults
        async with listening(proxy.connection) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(payload)
                return await asyncio.wait_for(reader.read(), 10)
            finally:
                writer.close()


def test_the_proxy_passes_everything_through():
    payload = b"x" * 300_000
    assert asyncio.run(through_proxy(Faults(), payload)) == payload


def test_the_proxy_resets_connections():
    with pytest.raises(ConnectionResetError):
        asyncio.run(through_proxy(Faults(reset_share=1.0), b"SELECT 1"))
