"""Reads a custom resource as a dict and says what is wrong with it: never an exception for what a user wrote."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from appstatus.api.values import parse_decimal, parse_duration, parse_objective

T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong, in the words of its owner. ``field`` is a path such as ``spec.alerting.tiers[0].short``."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field} {self.message}" if self.field else self.message


class Fields:
    """A part of an object. Each reader gives the value or, after noting a Problem, the default."""

    def __init__(self, data: object, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        if data is None:
            data = {}
        if not isinstance(data, Mapping):
            self.problem("", f"must be an object, found {_show(data)}")
            data = {}
        self.data: Mapping[str, Any] = data

    def problem(self, key: str, message: str) -> None:
        self.problems.append(Problem(self._at(key), message))

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def part(self, key: str) -> "Fields":
        return Fields(self.data.get(key), self._at(key), self.problems)

    def parts(self, key: str) -> list["Fields"]:
        return [Fields(item, f"{self._at(key)}[{i}]", self.problems) for i, item in enumerate(self._list(key))]

    def string(self, key: str, default: str = "") -> str:
        return self._typed(key, str, "text", default)

    def required(self, key: str) -> str:
        value = self.string(key)
        if not value:
            self.problem(key, "is missing")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        return self._typed(key, bool, "true or false", default)

    def integer(self, key: str, default: int) -> int:
        return self._typed(key, int, "a whole number", default)

    def choice(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.string(key, default)
        if value not in allowed:
            self.problem(key, f'is "{value}"; allowed are {", ".join(allowed)}')
            return default
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        if not all(isinstance(v, str) for v in values):
            self.problem(key, "must be a list of text")
            return ()
        return tuple(values)

    def mapping(self, key: str) -> dict[str, str]:
        values = self.part(key).data
        wrong = [k for k, v in values.items() if not isinstance(v, str)]
        if wrong:
            self.problem(f"{key}.{wrong[0]}", f"must be text, found {_show(values[wrong[0]])}; write it in quotes")
        return {k: v for k, v in values.items() if isinstance(v, str)}

    def duration(self, key: str, default: float, low: float = 0.0, high: float = float("inf")) -> float:
        """Seconds."""
        value = self._parsed(key, parse_duration, default)
        if not low <= value <= high:
            self.problem(key, f'is "{self.data[key]}"; it must be from {low:g}s to {high:g}s')
            return default
        return value

    def decimal(self, key: str, default: float | None) -> float | None:
        return self._parsed(key, parse_decimal, default)

    def objective(self, key: str, default: float) -> float:
        """A fraction."""
        return self._parsed(key, parse_objective, default)

    def moment(self, key: str) -> float | None:
        """Unix seconds of an RFC 3339 time."""
        return self._parsed(key, parse_time, None)

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path and key else self.path or key

    def _list(self, key: str) -> list[Any]:
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem(key, f"must be a list, found {_show(value)}")
            return []
        return value

    def _typed(self, key: str, kind: type[T], wanted: str, default: T) -> T:
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.problem(key, f"must be {wanted}, found {_show(value)}" + ("; write it in quotes" if kind is str else ""))
            return default
        return value

    def _parsed(self, key: str, parse: Callable[[str], T], default: T) -> T:
        if key not in self:
            return default
        text = self.string(key)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problem(key, f"is wrong: {error}")
            return default


def parse_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a time such as 2027-01-01T00:00:00Z') from None
    if moment.tzinfo is None:
        raise ValueError(f'"{text}" has no time zone; a time looks like 2027-01-01T00:00:00Z')
    return moment.timestamp()


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
