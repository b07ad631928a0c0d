"""What the log says that it did not say before, and what its words mean.

Error texts of operating systems, resolvers and TLS libraries are the same everywhere; the table holds those that name a cause which
no release brings about, and the metrics of exporters that are called after the same things.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from appstatus.diagnosis.onset import Windows
from appstatus.diagnosis.shift import THRESHOLD, shift
from appstatus.model.world import Application

LEAST_GAUGE = 1e-6  # so little is no difference
LEAST_LINES = 2.0  # in the incident
GROWN = 5.0  # times as many lines/s as before

_FAILS = r"(50[0234]|unavailable|time.?out|timed out|refused|reset)"
_OUTSIDE = r"(https?://|\bapi\.)[\w.-]+\.(com|net|org|io|ai|dev|cloud)\b"
_IMPAIRED = r"(impair|degrad|unreachable|outage|packet loss)"
# Signal, and what a line says or how a gauge is called. Only failures that have words of their own; the first that matches.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # OpenSSL, Go's crypto/tls, Java's PKIX.
    ("certificate", (
        r"\bx509\b", r"\bcert\w* (is |has )?(expired|not yet valid)", r"certificate.verify.failed", r"PKIX", r"\btls: ",
        r"(tls|ssl).?handshake.*(fail|error)", r"\bssl\b.*(error|alert|expired)", r"(tls|ssl|cert)\w*_(fail|error|expired)",
    )),
    # Resolvers that do not answer; a name that does not exist is as often a typing error in a release.
    ("dns", (
        r"SERVFAIL", r"EAI_AGAIN", r"temporary failure in name resolution", r"resolver.*time.?out",
        r"\b(dns|lookup|resolv\w*|resolution)\b.*(time.?out|timed out|i/o|degraded|slow|overload)",
        r"^(core)?dns_\w*(latency|duration|fail|error|timeout|servfail)",
    )),
    ("zone-down", (
        r"\b(availability.?zone|zone|region)\b.*" + _IMPAIRED, _IMPAIRED + r"\w*.*\b(availability.?zone|zone|region)\b",
        r"\b[a-z]{2}-(north|south|east|west|central)\w*-?\d[a-z]?\b.*" + _IMPAIRED,
        r"^(zone|region|az)_\w*(fail|error|loss|impair)",
    )),
    ("provider", (
        r"\bprovider\b.*(outage|degrad|error|fail|unreachable|" + _FAILS + ")", r"third.party", r"status ?page",
        _OUTSIDE + ".*" + _FAILS, _FAILS + r"\b.*" + _OUTSIDE,
        r"^(provider|third_party|external)_\w*(fail|error|timeout|latency|5xx)",
    )),
    ("disk-full", (r"no space left on device", r"ENOSPC", r"disk (is )?full", r"read-only file ?system", r"disk quota exceeded")),
    # What was sent cannot be digested: it comes again and again.
    ("bad-input", (
        r"(validat|deseriali[sz]|decod|unmarshal|malformed|corrupt|poison)\w*.*\b(record|message|event|payload|offset|partition)",
        r"\b(record|message|event|payload)\b.*(invalid|malformed|corrupt|out of range|poison|redeliver|undecodable)",
    )),
)  # fmt: skip
MEANINGS = tuple((signal, re.compile("|".join(patterns), re.IGNORECASE)) for signal, patterns in _TEXTS)


class Said(NamedTuple):
    """``signal``: of `MEANINGS`, or ``new-log-pattern``; lines/s, or the gauge's own unit."""

    signal: str
    text: str
    before: float
    during: float
    unit: str


def said(app: Application, windows: Windows, step: float) -> Iterator[Said]:
    """What is new since the onset, the most frequent first."""
    found = []
    for pattern in app.logs:
        if not pattern.severe:
            continue
        before, during = (float(np.nan_to_num(pattern.lines[mask]).mean()) if mask.any() else 0.0
                          for mask in (windows.reference, windows.incident))  # fmt: skip
        lines = during * float(windows.incident.sum()) * step
        if lines >= LEAST_LINES and during > GROWN * before:
            found.append(Said(meaning(pattern.text), pattern.text, before, during, "lines/s"))
    yield from sorted(found, key=lambda s: -s.during)
    for name, values in app.gauges.items():
        signal = meaning(name)
        moved = shift(values, windows, LEAST_GAUGE) if signal != "new-log-pattern" else None
        if moved is not None and moved.score > THRESHOLD:
            yield Said(signal, name, moved.before, moved.during, "")


def meaning(text: str) -> str:
    return next((signal for signal, pattern in MEANINGS if pattern.search(text)), "new-log-pattern")
