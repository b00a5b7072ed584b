"""Tells of thresholds that have been crossed, each until the receiver has taken it."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from gpu_token_processor.budgets.watch import months_watched
from gpu_token_processor.budgets.webhook import WebhookError
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.store.alerts import Alerts

log = logging.getLogger(__name__)

_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=1)


class Receiver(Protocol):
    """See Webhook."""

    def post(self, body: str, key: str) -> None: ...


class Telling:
    """Used by one thread."""

    def __init__(
        self, alerts: Alerts, receiver: Receiver, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._alerts = alerts
        self._receiver = receiver
        self._metrics = metrics
        self._now = now
        self._failure: str | None = None

    def tell(self) -> None:
        """All that is due. Raises pymongo's errors; what has been told and not noted is told again."""
        while claimed := self._alerts.claim([*map(str, months_watched(self._now()))], self._now()):
            try:
                self._receiver.post(claimed.body, claimed.id)
            except WebhookError as error:
                self._failed(str(error))
                self._alerts.postpone(claimed, self._now() + _wait(claimed.attempt))
            else:
                self._alerts.told(claimed, self._now())
                self._metrics.budget_alerts.inc()
                self._failure = None

    def _failed(self, reason: str) -> None:
        self._metrics.budget_alert_failures.inc()
        # Each kind is named once.
        if reason != self._failure:
            self._failure = reason
            log.warning("the budget webhook did not take an alert, which will be sent again: %s", reason)


def _wait(attempt: int) -> timedelta:
    """Before the next attempt."""
    doublings = min(attempt - 1, 10)
    return min(_FIRST_WAIT * (1 << doublings), _LONGEST_WAIT)
