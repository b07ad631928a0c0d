"""HTTP calls to the other parts: keep-alive, one deadline, and a new try only where a connection died while idle."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import aiohttp

# Under the 75 s that nginx and our own servers keep an idle connection, so that the client closes first.
IDLE_SECONDS = 15.0
MAX_STALE = 3
# Of requests, those that are the last on their connection: at a low rate one connection would carry everything, and one of
# several instances get all of it.
LAST_SHARE = 0.05


class CallFailed(Exception):
    """No good answer from `url`; `status` is what the caller should answer itself."""

    def __init__(self, url: str, reason: str, status: int) -> None:
        super().__init__(f"{url}: {reason}")
        self.reason, self.status = reason, status


async def _reused(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    context.trace_request_ctx["reused"] = True


def session(limit: int = 100) -> aiohttp.ClientSession:
    """A session with at most `limit` connections (0: no limit); make it inside the running event loop."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_reused)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=IDLE_SECONDS), trace_configs=[trace]
    )


async def get(http: aiohttp.ClientSession, url: str, timeout: float) -> int:
    """The status of the answer, read to its end within `timeout` seconds. CallFailed when there is none.

    A request whose kept connection the other side closed meanwhile was not begun there: it is sent again, as browsers do
    (RFC 9110, 9.2.2), else every rollout would look like failing requests.
    """
    stale = 0
    headers = {"Connection": "close"} if random.random() < LAST_SHARE else {}
    try:
        async with asyncio.timeout(timeout):
            while True:
                context = {"reused": False}
                try:
                    async with http.get(url, headers=headers, trace_request_ctx=context) as answer:
                        await answer.read()
                        return answer.status
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    stale += 1
                    if not context["reused"] or stale > MAX_STALE:
                        raise CallFailed(url, reason_of(error), 502) from error
                except aiohttp.ClientError as error:
                    raise CallFailed(url, reason_of(error), 502) from error
    except TimeoutError as error:
        raise CallFailed(url, "timeout", 504) from error


def reason_of(error: BaseException) -> str:
    """One word for how a request ended without an answer."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed"
    if isinstance(error, ConnectionResetError) or getattr(error, "errno", None) == 104:
        return "reset"
    return type(error).__name__
