"""Leader election on a coordination.k8s.io Lease, by what each replica's own monotonic clock has seen.

Wall clocks are never compared: a replica takes a lease over only when it has itself watched it unchanged for its whole duration.
The times in the object are for people. ``holding`` ends ``renew_deadline`` after the last renewal was *sent*, well before anybody
else can take over, so two replicas never write at once, even if one was stopped in between and does not know it yet (its writes
then also carry an outdated resourceVersion).

The Lease belongs to the ServiceAccount that the replica runs as, so that it goes with it. It cannot be the chart's own object:
where it exists already Helm would refuse the upgrade, and Argo CD leaves Leases out.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from appstatus.kube import ApiError, Unreachable, path

log = logging.getLogger(__name__)

DURATION = 15.0
RENEW_DEADLINE = 10.0
PERIOD = 2.0


class Requests(Protocol):
    def request(
        self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None, timeout: float = 10.0
    ) -> Any: ...


class Lease:
    """One candidate. ``step`` is called every PERIOD by ``run``'s thread; ``holding`` may be read from any thread."""

    def __init__(
        self,
        kube: Requests,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert renew_deadline < duration
        self.identity = identity
        self._kube = kube
        self._collection = path("coordination.k8s.io/v1", "leases", namespace)
        self._name = name
        self._namespace = namespace
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._clock = clock
        self._until = float("-inf")  # monotonic: our own renewals count until then
        self._was_leader = False
        self._seen: tuple[str, str] | None = None  # holder and resourceVersion last seen of another replica
        self._seen_at = 0.0
        self._read_at = float("-inf")  # when the Lease could last be read
        self._mine: dict[str, Any] | None = None  # the object as we last wrote it
        self._owners: list[dict[str, Any]] | None = None  # ownerReferences; None: not known
        self.holder = ""

    @property
    def holding(self) -> bool:
        """Whether this replica may write now."""
        return self._clock() < self._until

    @property
    def lost(self) -> bool:
        """This replica has led, and has since seen another holder: it must end, its memory may differ from what was written."""
        return self._was_leader and self.holder not in ("", self.identity)

    def step(self) -> None:
        """One attempt to renew or to acquire. Raises nothing: without an answer the lease simply runs out."""
        now = self._clock()
        try:
            if self._owners is None:
                self._owners = self._ask_owners()
            if self._mine is not None:
                self._renew(now)
            else:
                self._try_acquire(now)
        except ApiError as error:
            if error.status in (404, 409):
                # Somebody wrote between our read and our write; that somebody may be our own write that seemed to fail.
                self._mine = None
                self._read_again(now)
            else:
                log.warning("The lease %s could not be renewed: %s", self._name, error)
        except Unreachable as error:
            log.warning("The lease %s could not be renewed, no answer: %s", self._name, error)

    def run(self, stop: threading.Event, on_lost: Callable[[], None], period: float = PERIOD) -> None:
        """Until ``stop``; calls ``on_lost`` at most once and ends then."""
        while not stop.wait(period):
            self.step()
            if self.lost:
                on_lost()
                return
        self.release()

    def release(self) -> None:
        """Hands the lease over at once instead of letting it run out. Call it when nothing is being written any more."""
        if self._mine is None:
            return
        self._until = float("-inf")
        body = self._object(self._mine, holder="")
        body["spec"]["leaseDurationSeconds"] = 1
        try:
            self._kube.request("PUT", f"{self._collection}/{self._name}", body=body, timeout=3.0)
        except (ApiError, Unreachable) as error:
            log.warning("The lease %s could not be released and will run out: %s", self._name, error)
        self._mine = None

    def _renew(self, now: float) -> None:
        assert self._mine is not None
        self._won(
            now,
            self._kube.request("PUT", f"{self._collection}/{self._name}", body=self._object(self._mine), timeout=self._timeout()),
        )

    def _try_acquire(self, now: float) -> None:
        found = self._get()
        if found is None:
            # Whoever held what was deleted may write on until its last renewal ends.
            if self._seen is not None and self._seen[0] != self.identity and now - self._seen_at < self._duration:
                return
            self._won(now, self._kube.request("POST", self._collection, body=self._object(None), timeout=self._timeout()))
            return
        spec = found.get("spec") or {}
        self.holder = spec.get("holderIdentity") or ""
        if self.holder not in ("", self.identity):
            self._until = float("-inf")
        seen = (self.holder, found["metadata"]["resourceVersion"])
        # While nobody could read it nobody could renew it: an API server that was away makes no new leader.
        if seen != self._seen or now - self._read_at > self._renew_deadline:
            self._seen, self._seen_at = seen, now
        self._read_at = now
        if self.holder == self.identity and self._was_leader:
            free = True  # nobody took it while the API server was away
        else:
            patience = max(float(spec.get("leaseDurationSeconds") or 0), 1.0)
            free = not self.holder or now - self._seen_at >= patience
        if free:
            self._won(
                now,
                self._kube.request("PUT", f"{self._collection}/{self._name}", body=self._object(found), timeout=self._timeout()),
            )

    def _read_again(self, now: float) -> None:
        try:
            self._try_acquire(now)
        except (ApiError, Unreachable) as error:
            log.warning("The lease %s could not be read again: %s", self._name, error)

    def _won(self, sent: float, answer: dict[str, Any]) -> None:
        if not self._was_leader or self.holder != self.identity:
            log.info("This replica, %s, leads", self.identity)
        self._mine = answer
        self._was_leader = True
        self.holder = self.identity
        self._until = sent + self._renew_deadline

    def _get(self) -> dict[str, Any] | None:
        try:
            return self._kube.request("GET", f"{self._collection}/{self._name}", timeout=self._timeout())  # type: ignore[no-any-return]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _ask_owners(self) -> list[dict[str, Any]] | None:
        """The ServiceAccount of the Lease's namespace as which the API server knows this replica, empty for anybody else; None: no
        answer this time.
        """
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = self._kube.request(
                "POST", path("authentication.k8s.io/v1", "selfsubjectreviews"), body=review, timeout=self._timeout()
            )
        except ApiError as error:
            if error.status not in (403, 404, 405):
                return None
            log.warning("The lease %s will stay when this is uninstalled: who this replica is was refused: %s", self._name, error)
            return []
        user = ((answer or {}).get("status") or {}).get("userInfo") or {}
        prefix, _, name = str(user.get("username", "")).rpartition(":")
        if prefix != f"system:serviceaccount:{self._namespace}" or not user.get("uid"):
            return []
        return [{"apiVersion": "v1", "kind": "ServiceAccount", "name": name, "uid": user["uid"]}]

    def _timeout(self) -> float:
        """Under the renew deadline, so that one request without an answer leaves time for another."""
        return self._renew_deadline / 3

    def _object(self, base: dict[str, Any] | None, holder: str | None = None) -> dict[str, Any]:
        """The Lease to write: based on ``base`` with its resourceVersion, so that the API server refuses it if it has changed."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (base or {}).get("spec") or {}
        taken = before.get("holderIdentity") != self.identity
        spec = {
            "holderIdentity": self.identity if holder is None else holder,
            "leaseDurationSeconds": int(self._duration),
            "renewTime": stamp,
            "acquireTime": stamp if taken else before.get("acquireTime", stamp),
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (1 if taken and base is not None else 0),
        }
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        owners = self._owners
        if base is not None:
            metadata["resourceVersion"] = base["metadata"]["resourceVersion"]
            owners = owners or base["metadata"].get("ownerReferences")
        if owners:
            metadata["ownerReferences"] = owners
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
