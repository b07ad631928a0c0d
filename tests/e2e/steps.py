"""Steps of a long command as its user sees them: what is done, that it goes on, how long it took, which log to read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")
TELL_SECONDS = 30


class StepError(RuntimeError):
    """A step failed; the message says what, and which log to read."""


@contextmanager
def step(title: str, log: str = "") -> Iterator[None]:
    """Announces `title`, prints the seconds it took; a failure names `log`."""
    print(f"\n==> {title}", flush=True)
    start = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        print(f"    interrupted after {time.monotonic() - start:.0f} s", flush=True)
        raise
    except Exception as error:
        hint = f"\n    read: {log}" if log else ""
        raise StepError(f"{title}: failed after {time.monotonic() - start:.0f} s: {error}{hint}") from error
    print(f"    done in {time.monotonic() - start:.1f} s", flush=True)


def wait(
    what: str, probe: Callable[[], Result | None], seconds: float, every: float = 1.0, say: Callable[[], str] | None = None
) -> Result:
    """Calls `probe` until it returns something true, and returns that; `say` describes the progress when it changes, and that
    it goes on is said every half minute.

    Raises TimeoutError, with the last progress, after `seconds`.
    An exception of `probe` counts as "not yet" and is part of the error.
    """
    began = last = time.monotonic()
    deadline = began + seconds
    told, trouble = "", ""
    while True:
        try:
            result = probe()
            trouble = ""
        except Exception as error:  # an API server that restarts, a pod that is not there yet
            result, trouble = None, f" ({error})"
        if result:
            return result
        if say is not None:
            try:
                now = say()
            except Exception as error:
                now = str(error)
            if now != told:
                told, last = now, time.monotonic()
                print(f"    {now}", flush=True)
            elif time.monotonic() - last > TELL_SECONDS:
                last = time.monotonic()
                print(f"    {last - began:.0f} s: still waiting for: {what}", flush=True)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s. {told}{trouble}")
        time.sleep(every)


def fail(error: StepError) -> int:
    print(f"\nerror: {error}", file=sys.stderr)
    return 1
