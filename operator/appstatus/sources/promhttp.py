"""One Prometheus-compatible server: the connection, one range query, its answer as a matrix.

The connection (session, basic or bearer authentication, TLS) is a ``PrometheusConnect``. Queries are posted and decoded here: the
library throws ``warnings`` away, and a store that answers from half of its replicas says so only there. A partial answer counts as
none.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import orjson
import requests
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from appstatus.model.series import F64

# As Prometheus has it: [{"metric": {...}, "values": [[t, "v"], ...]}], an instant query "value": [t, "v"] instead.
Answer: TypeAlias = list[dict[str, Any]]

CONNECT_TIMEOUT = 3.0
# A server that refuses more than this much data in one answer would take the operator's memory with it.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
# An answer is read in parts of about this many bytes: as Python objects it is a dozen times as large.
PART_BYTES = 1 << 18
# Between two series of an answer. Within a string its quotes would be escaped.
_BETWEEN = b'},{"metric":'


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to ask. ``ca``, ``cert`` and ``key`` are file names; ``verify`` False accepts any certificate."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class QueryFailed(Exception):
    """A query without a full answer. ``kind``: unreachable, timeout, rejected (the query is wrong), partial, error."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Connection:
    """Thread-safe as far as ``requests.Session`` is: one session per operator and endpoint, a few requests at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._open(endpoint)

    def use(self, endpoint: Endpoint) -> None:
        """From the next query on, other credentials."""
        former = self._connect
        self._open(endpoint)
        former.close()

    def _open(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        session = requests.Session()
        session.verify = (endpoint.ca or True) if endpoint.verify else False
        if endpoint.cert:
            session.cert = (endpoint.cert, endpoint.key) if endpoint.key else endpoint.cert
        headers = dict(endpoint.headers)
        if endpoint.bearer:
            headers["Authorization"] = f"Bearer {endpoint.bearer}"
        self._session = session
        self._connect = PrometheusConnect(
            url=endpoint.url.rstrip("/"),
            headers=headers,
            auth=(endpoint.username, endpoint.password) if endpoint.username else None,
            retry=Retry(total=0, redirect=3),
            session=session,
        )

    def close(self) -> None:
        self._connect.close()

    def query_range(self, expr: str, start: float, end: float, step: float, timeout: float) -> Iterator[Answer]:
        """The series of a range query, in parts; samples at ``start + i * step``. Raises QueryFailed."""
        form = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return self._ask("/api/v1/query_range", form, timeout, "matrix")

    def query(self, expr: str, at: float, timeout: float) -> Answer:
        """The series of an instant query. Raises QueryFailed."""
        parts = self._ask("/api/v1/query", {"query": expr, "time": f"{at:.3f}"}, timeout, "vector")
        return [series for part in parts for series in part]

    def _ask(self, path: str, form: dict[str, str], timeout: float, kind: str) -> Iterator[Answer]:
        deadline = time.monotonic() + timeout
        try:
            status, body = self._post(path, form, deadline)
        except requests.exceptions.ConnectionError as error:
            if isinstance(error, requests.exceptions.ConnectTimeout):
                raise self._unreachable(f"no connection within {CONNECT_TIMEOUT:g} s") from error
            # A keep-alive connection that the server closed a moment ago is not an outage: once more, on a new one.
            if "Connection aborted" not in str(error) or time.monotonic() >= deadline:
                raise self._unreachable(_brief(error)) from error
            try:
                status, body = self._post(path, form, deadline)
            except requests.exceptions.RequestException as again:
                raise self._unreachable(_brief(again)) from again
        except requests.exceptions.Timeout as error:
            raise QueryFailed("timeout", f"no answer within {timeout:.0f} s") from error
        except requests.exceptions.RequestException as error:
            raise self._unreachable(_brief(error)) from error
        return _result(status, body, kind)

    def _unreachable(self, reason: str) -> QueryFailed:
        return QueryFailed("unreachable", f"{self.endpoint.url}: {reason}")

    def _post(self, path: str, form: dict[str, str], deadline: float) -> tuple[int, bytearray]:
        # requests' time-out is per read: a server that drips one byte at a time is only stopped by looking at the clock.
        left = max(deadline - time.monotonic(), 0.1)
        with self._session.post(
            self._connect.url + path,
            data={**form, "timeout": f"{left * 1000:.0f}ms"},
            headers=self._connect.headers,
            auth=self._connect.auth,
            timeout=(min(CONNECT_TIMEOUT, left), left),
            stream=True,
        ) as response:
            body = bytearray()
            for chunk in response.iter_content(1 << 18):
                body += chunk
                if time.monotonic() > deadline:
                    raise requests.exceptions.ReadTimeout("the answer took too long")
                if len(body) > MAX_ANSWER_BYTES:
                    raise QueryFailed("error", f"answer larger than {MAX_ANSWER_BYTES >> 20} MiB")
            return response.status_code, body


def _result(status: int, body: bytearray, kind: str) -> Iterator[Answer]:
    """What surrounds the series is judged first, with the last part of them inside it."""
    cuts = _cuts(body)
    try:
        answer = orjson.loads(body[: cuts[0]] + body[cuts[-1] :] if cuts else body)
    except orjson.JSONDecodeError as error:
        raise QueryFailed("error", f"HTTP {status}, and the answer is not JSON: {bytes(body[:80])!r}") from error
    if not isinstance(answer, dict) or answer.get("status") != "success":
        text = str(answer.get("error", answer) if isinstance(answer, dict) else answer)[:300]
        wrong = isinstance(answer, dict) and answer.get("errorType") == "bad_data"
        timed_out = isinstance(answer, dict) and answer.get("errorType") == "timeout"
        raise QueryFailed("rejected" if wrong else "timeout" if timed_out else "error", f"HTTP {status}: {text}")
    # Prometheus before 3 puts its hints about PromQL style among the warnings.
    warnings = [text for text in answer.get("warnings") or [] if not str(text).startswith("PromQL info")]
    if warnings or answer.get("isPartial"):
        raise QueryFailed("partial", f"partial answer: {str(warnings[0])[:200] if warnings else 'isPartial'}")
    data = answer.get("data") or {}
    if data.get("resultType") != kind:
        raise QueryFailed("rejected", f"the expression is a {data.get('resultType')}, not a set of series")
    return _parts(body, cuts, data.get("result") or [])


def _cuts(body: bytearray) -> list[int]:
    """Where the parts of the list of series begin; nothing for a short answer."""
    cuts = [body.find(b'{"metric":', 0, 4096)] if len(body) > PART_BYTES else []
    while cuts and cuts[0] > 0 and (found := body.find(_BETWEEN, cuts[-1] + PART_BYTES)) > 0:
        cuts.append(found + len("},"))
    return cuts if len(cuts) > 1 else []


def _parts(body: bytearray, cuts: list[int], last: Answer) -> Iterator[Answer]:
    for begin, end in pairwise(cuts):
        try:
            yield orjson.loads(b"[" + body[begin : end - len(",")] + b"]")
        except orjson.JSONDecodeError as error:
            raise QueryFailed("error", f"the answer is not JSON: {error}") from error
    yield last


def _brief(error: Exception) -> str:
    """The innermost reason of a chain of wrapped connection errors, in one line."""
    inner: BaseException = error
    while True:
        following = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(following, BaseException):
            break
        inner = following
    text = str(inner)
    return (text.rsplit(": ", 1)[-1] if "Failed to establish" in text else text)[:200] or type(inner).__name__


def decode(result: Answer, by: tuple[str, ...], start: float, step: float, columns: int) -> tuple[list[tuple[str, ...]], F64]:
    """Keys (the values of the labels ``by``) and a (series, columns) matrix on the grid ``start + i * step``; NaN = no sample."""
    keys = [tuple([series["metric"].get(label, "") for label in by]) for series in result]
    block = np.full((len(result), columns), np.nan)
    points = [series.get("values") or [] for series in result]
    lengths = np.fromiter(map(len, points), dtype=np.int64, count=len(points))
    count = int(lengths.sum())
    stamps = np.fromiter((point[0] for series in points for point in series), dtype=np.float64, count=count)
    values = np.fromiter((float(point[1]) for series in points for point in series), dtype=np.float64, count=count)
    column = np.rint((stamps - start) / step).astype(np.int64)
    inside = (column >= 0) & (column < columns)
    block[np.repeat(np.arange(len(result)), lengths)[inside], column[inside]] = values[inside]
    return keys, block
