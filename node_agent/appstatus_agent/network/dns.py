"""Names of addresses, from DNS answers (RFC 1035) that reached this node."""

import ipaddress
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("!HHHHHH")
_A, _CNAME, _AAAA = 1, 5, 28
_IN = 1
_MAX_NAME = 255
_MAX_JUMPS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """The name that was asked for and the addresses it has, whatever aliases lie between."""

    name: str
    addresses: tuple[str, ...]


class Malformed(ValueError):
    """The message is not a readable DNS answer; the text says in one word why."""


def parse_answer(message: bytes) -> Answer | None:
    """A DNS message -> its answer; None for queries, errors, and answers without addresses. `Malformed` when unreadable.

    A message cut at the end (the kernel passes on a bounded copy) yields the addresses that are whole.
    """
    if len(message) < _HEADER.size:
        raise Malformed("short")
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if not flags & 0x8000 or flags & 0x000F or questions != 1 or not answers:
        return None
    asked, at = _name(message, _HEADER.size)
    at += 4  # type, class
    aliases = {asked}
    addresses: list[str] = []
    for _ in range(min(answers, 64)):
        try:
            owner, at = _name(message, at)
            kind, klass, _, length = struct.unpack_from("!HHIH", message, at)
        except (Malformed, struct.error):
            break
        at += 10
        data = message[at : at + length]
        if len(data) < length:
            break
        if klass == _IN and owner in aliases:
            if kind == _CNAME:
                aliases.add(_name(message, at)[0])
            elif (kind, length) in ((_A, 4), (_AAAA, 16)):
                addresses.append(str(ipaddress.ip_address(data)))
        at += length
    return Answer(asked, tuple(addresses)) if addresses else None


def _name(message: bytes, at: int) -> tuple[str, int]:
    """The name at `at`, lower case and without the last dot, and where the next field begins."""
    labels: list[str] = []
    after = -1
    total = 0
    for _ in range(_MAX_NAME + _MAX_JUMPS):
        if at >= len(message):
            raise Malformed("cut")
        length = message[at]
        if length >= 0xC0:
            if at + 1 >= len(message):
                raise Malformed("cut")
            target = (length & 0x3F) << 8 | message[at + 1]
            if target >= at:  # pointers lead back (RFC 1035 4.1.4), so this ends
                raise Malformed("pointer")
            after = at + 2 if after < 0 else after
            at = target
            continue
        if length >= 0x40:
            raise Malformed("label")
        at += 1
        if not length:
            return ".".join(labels), after if after >= 0 else at
        total += length + 1
        label = message[at : at + length]
        if len(label) < length:
            raise Malformed("cut")
        if total > _MAX_NAME or not all(0x21 <= byte <= 0x7E and byte != 0x2E for byte in label):
            raise Malformed("name")
        labels.append(label.decode("ascii").lower())
        at += length
    raise Malformed("name")


class Names:
    """address -> name, bounded. An address keeps its first name while that is confirmed, so that series do not flap."""

    def __init__(self, limit: int = 4096, keep_seconds: float = 6 * 3600.0, stable_seconds: float = 600.0) -> None:
        self._limit = limit
        self._keep = keep_seconds
        self._stable = stable_seconds
        self._names: dict[str, tuple[str, float]] = {}

    def learn(self, answer: Answer, now: float) -> None:
        for address in answer.addresses:
            name, seen = self._names.pop(address, (answer.name, now))
            if name == answer.name or now - seen >= self._stable:
                name, seen = answer.name, now
            self._names[address] = (name, seen)  # last in order: learnt most recently
            if len(self._names) > self._limit:
                self._names.pop(next(iter(self._names)))

    def expire(self, now: float) -> None:
        self._names = {ip: entry for ip, entry in self._names.items() if now - entry[1] < self._keep}

    def items(self) -> list[tuple[str, str]]:
        """(address, name) pairs."""
        return [(address, name) for address, (name, _) in list(self._names.items())]

    def __len__(self) -> int:
        return len(self._names)
