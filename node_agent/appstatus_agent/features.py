"""What the agent can do on this node and, for each thing it cannot, the reason: one log sentence and one metric."""

import logging

from .exposition import Page

log = logging.getLogger(__name__)


class Features:
    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def on(self, feature: str) -> None:
        self._reasons[feature] = ""

    def off(self, feature: str, reason: str) -> None:
        """Turn a feature off; said in the log when it is news."""
        if self._reasons.get(feature) != reason:
            log.warning("%s is off: %s", feature, reason)
        self._reasons[feature] = reason

    def not_yet(self, feature: str, reason: str) -> None:
        """Off for a moment while the agent starts; no news for the log."""
        self._reasons[feature] = reason

    def is_on(self, feature: str) -> bool:
        return self._reasons.get(feature) == ""

    def add(self, page: Page) -> None:
        for feature, reason in sorted(self._reasons.items()):
            page.add("appstatus_agent_feature", int(not reason), [("feature", feature), ("reason", reason)])
