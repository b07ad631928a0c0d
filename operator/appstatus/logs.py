"""One line per message: JSON for machines, text for people."""

import logging
import sys
from datetime import UTC, datetime

import orjson


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure(form: str, level: str) -> None:
    """``form``: json or text; to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Signals are the main thread's business, kopf runs in another.
    logging.getLogger("kopf._core.reactor.running").addFilter(lambda record: "OS signals are ignored" not in record.getMessage())
    # kopf tells of every object that it sees, urllib3 of every connection.
    for name in ("kopf", "urllib3", "kubernetes", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
