"""Notes which thresholds have been crossed."""

from datetime import datetime, timedelta

from gpu_token_processor.budgets.alerts import alert, alert_id
from gpu_token_processor.budgets.budgets import Budgets, Status
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.exact import stored_us
from gpu_token_processor.store.alerts import Alerts

# So long a month that is over is still looked at: its last hours may cross a threshold too.
_AFTER = timedelta(days=1)


def months_watched(now: datetime) -> list[Month]:
    """The running month, last; on its first day the one before it too."""
    return sorted({Month.of(stored_us(now - _AFTER)), Month.of(stored_us(now))})


class Watch:
    """Used by one thread."""

    def __init__(self, budgets: Budgets, alerts: Alerts) -> None:
        self._budgets = budgets
        self._alerts = alerts
        # Of the running month, as of the last look.
        self.latest: list[Status] = []

    def look(self, now: datetime) -> None:
        """Note what has been crossed since. Raises pymongo's errors."""
        for month in months_watched(now):
            found = self._budgets.of(month, stored_us(now))
            crossed = [(status, share) for status in found.statuses for share in status.crossed]
            known = self._alerts.crossed(str(month)) if crossed else {}
            for status, share in crossed:
                if alert_id(month, status.budget, share) not in known:
                    self._alerts.note(alert(found, status, share, now))
        self.latest = found.statuses
