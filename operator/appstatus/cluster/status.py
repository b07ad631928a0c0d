"""Writes status documents: server-side apply, only what changed, at a bounded pace.

Two ways in: ``submit`` for what may wait its turn, ``write_now`` for the state of an incident, which must be stored before its
Event is posted. Both carry the resourceVersion that they are based on as soon as one is known: a replica that was frozen just
before it sent and no longer leads cannot overwrite its successor.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from appstatus.api.names import GROUP, VERSION
from appstatus.cluster.writing import NotLeading, OutOfTime, Writer
from appstatus.kube import ApiError, Unreachable, own_path

log = logging.getLogger(__name__)


class Key(NamedTuple):
    plural: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.plural} {self.namespace}/{self.name}" if self.namespace else f"{self.plural} {self.name}"


KINDS = {"projects": "Project", "slos": "SLO", "inspectionoverrides": "InspectionOverride", "appstatuses": "AppStatus"}


@dataclass(frozen=True, slots=True)
class Document:
    """A status as it should be. ``metadata`` is set for objects that the operator creates itself: labels, ownerReferences.

    uid     of the object that others create: one that was deleted and created anew has no status yet
    urgent  higher goes first
    """

    key: Key
    status: dict[str, Any]
    metadata: dict[str, Any] | None = None
    urgent: int = 0
    uid: str = ""


@dataclass(slots=True)
class _Known:
    """What is stored as far as we know. ``refused``: digest of a status that the API server does not take; it is not sent again."""

    digest: bytes = b""
    resource_version: str = ""
    refused: bytes = b""


def digest(document: Document) -> bytes:
    """Equal for documents that need no write."""
    return hashlib.blake2b(
        orjson.dumps([document.status, document.metadata, document.uid], option=orjson.OPT_SORT_KEYS), digest_size=16
    ).digest()


class StatusWriter:
    """Not thread-safe: belongs to the audit's thread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known: dict[Key, _Known] = {}
        self._pending: dict[Key, Document] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, documents: Iterable[Document]) -> None:
        """Takes documents in; those that are stored already are dropped, older versions of the others too."""
        for document in documents:
            known = self._known.get(document.key)
            now = digest(document)
            if known is not None and now in (known.digest, known.refused):
                self._pending.pop(document.key, None)
            else:
                self._pending[document.key] = document

    def flush(self, deadline: float) -> int:
        """Writes what is pending, most urgent first, until the monotonic ``deadline``; the rest waits. Returns the count."""
        written = 0
        for document in sorted(self._pending.values(), key=lambda each: -each.urgent):
            if self._writer.clock() >= deadline:
                break
            try:
                self._store(document, deadline)
            except (OutOfTime, NotLeading) as error:
                log.warning("%d status documents wait: %s", len(self._pending), error or "this replica does not lead")
                break
            except ApiError as error:
                if error.status == 409:
                    # Once only: what changed it may change it again. The next cycle writes it, with what it knows by then.
                    with contextlib.suppress(OutOfTime):
                        self._read_again(document.key)
                    continue
                self._refused(document, error)
            else:
                written += 1
            self._pending.pop(document.key, None)
        return written

    def write_now(self, document: Document, deadline: float) -> None:
        """Stores an incident's state. Returns only when it is stored. Raises ApiError, OutOfTime, NotLeading."""
        self._pending.pop(document.key, None)
        known = self._known.get(document.key)
        if known is not None and known.digest == digest(document):
            return
        while True:
            try:
                self._store(document, deadline)
                return
            except ApiError as error:
                if error.status != 409:
                    raise
            if self._writer.clock() >= deadline:
                raise OutOfTime(f"{document.key} keeps changing")
            # It may have been our own write whose answer was lost: then all is done.
            if self._read_again(document.key) == document.status:
                return

    def learn(self, key: Key, resource_version: str) -> None:
        """The version of an object as listed: later incident writes are based on it."""
        self._known[key] = _Known(resource_version=resource_version)

    def seen(self, key: Key, resource_version: str | None) -> None:
        """What the watch says of an object; None: it does not exist. If that is not what we wrote, it is written again."""
        known = self._known.get(key)
        if known is None:
            return
        if resource_version is None:
            del self._known[key]
        elif _newer(resource_version, known.resource_version):
            self._known[key] = _Known(resource_version=resource_version)

    def delete(self, key: Key, deadline: float) -> bool:
        """Deletes an object of the operator's own. Returns whether it is gone. Raises OutOfTime, NotLeading."""
        self._pending.pop(key, None)
        try:
            self._writer.request("DELETE", own_path(*key), deadline)
        except ApiError as error:
            if error.status != 404:
                log.error("%s could not be deleted: %s", key, error)
                return False
        self._known.pop(key, None)
        return True

    def _store(self, document: Document, deadline: float) -> None:
        """One write, based on the version that is known. Raises ApiError (409: it has changed since), OutOfTime, NotLeading."""
        key = document.key
        head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KINDS[key.plural]}
        name = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
        known = self._known.get(key)
        if document.metadata is not None and (known is None or not known.resource_version):
            # Server-side apply of the object itself creates it or finds it there.
            answer = self._writer.apply(own_path(*key), {**head, "metadata": {**name, **document.metadata}}, deadline)
            known = self._known[key] = _Known(resource_version=answer["metadata"]["resourceVersion"])
        based = {"resourceVersion": known.resource_version} if known is not None and known.resource_version else {}
        body = {**head, "metadata": {**name, **based}, "status": document.status}
        try:
            answer = self._writer.apply(own_path(*key, "status"), body, deadline)
        except ApiError as error:
            if error.status == 404 and document.metadata is not None and known is not None:
                # Somebody deleted it: create it anew, with the same status.
                self._known.pop(key, None)
                self._store(document, deadline)
                return
            raise
        self._known[key] = _Known(digest(document), answer["metadata"]["resourceVersion"])

    def _read_again(self, key: Key) -> Any:
        """After a conflict: learns the version that is stored now and returns the status that is. Raises OutOfTime."""
        try:
            stored = self._writer.kube.request("GET", own_path(*key), timeout=5.0)
        except ApiError as error:
            log.info("%s was changed by somebody else and cannot be read: %s", key, error)
            self._known.pop(key, None)
            return None
        except Unreachable as error:
            raise OutOfTime(str(error)) from error
        log.info("%s was changed by somebody else and is written again", key)
        self.learn(key, stored["metadata"]["resourceVersion"])
        return stored.get("status")

    def _refused(self, document: Document, error: ApiError) -> None:
        """Logged once per document: the next try comes when its content changes."""
        known = self._known.setdefault(document.key, _Known())
        known.refused = digest(document)
        if error.status == 404 or "being terminated" in error.message:
            log.info("%s went away before its status was written", document.key)
        else:
            log.error("The status of %s was refused: %s", document.key, error)


def _newer(one: str, other: str) -> bool:
    """resourceVersions are ordered numbers in etcd-backed servers; anything else counts as newer when different."""
    if one.isdigit() and other.isdigit():
        return int(one) > int(other)
    return one != other
