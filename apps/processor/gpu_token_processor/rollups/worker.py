"""The processor's thread that counts hours, slowly, so that nothing else waits for it."""

import logging
import threading
import time
from datetime import UTC, datetime

from gpu_token_processor.background import BATCH_EVENTS, SHARE, Failures
from gpu_token_processor.exports.days import Ledgers
from gpu_token_processor.ledger.exact import exact
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.rollups.counting import Counting
from gpu_token_processor.rollups.pace import Halted, Pace
from gpu_token_processor.rollups.sharing import Sharing
from gpu_token_processor.rollups.spending import Spending
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.clients import rollup_client
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups

log = logging.getLogger(__name__)

_IDLE_SECONDS = 5.0
_AFTER_FAILURE_SECONDS = 15.0
_BETWEEN_LOOKS_SECONDS = 600.0
# Then the day that it is in may be shared.
_AFTER_HOUR_SECONDS = 60.0
_BETWEEN_REPORTS_SECONDS = 10.0
_BETWEEN_SPENDING_SECONDS = 60.0


class Worker:
    """Owns the thread, and a MongoDB client of its own."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._stop = threading.Event()
        self._client = rollup_client(settings)
        self._hours = MongoRollups(self._client, settings.mongo_database, settings.retention)
        reads = MongoReads(self._client, settings.mongo_database, BATCH_EVENTS)
        pace, price = Pace(SHARE, self._stop), exact(settings.price_per_hour_usd)
        self._counting = Counting(self._hours, reads, settings.metric_gap_us, pace)
        self._sharing = Sharing(self._hours, reads, settings.metric_gap_us, price, pace)
        self._spending = Spending(
            self._hours, lambda: Ledgers(reads, self._hours, settings.metric_gap_us, price), metrics
        )
        self._spending_at = time.monotonic()
        self._metrics = metrics
        self._look_at = self._days_at = time.monotonic()
        self._report_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="rollups", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def stop(self) -> None:
        """Count no more. Nobody waits: an hour that is not finished is counted again by whoever claims it."""
        self._stop.set()

    def _run(self) -> None:
        failures = Failures(
            log,
            without_store="hours are not counted",
            otherwise="an hour cannot be counted; answers read its events",
        )
        while not self._stop.is_set():
            try:
                is_idle = not self._turn()
            except Halted:
                return
            except Exception as error:
                # The claim runs out by itself, so that other hours come first.
                failures.note(error)
                self._metrics.rollup_failures.inc()
                self._stop.wait(_AFTER_FAILURE_SECONDS)
                continue
            failures.end()
            if is_idle:
                self._stop.wait(_IDLE_SECONDS)

    def _turn(self) -> bool:
        """Do what there is to do; whether there was anything."""
        self._report()
        self._spend()
        done = self._counting.count_one()
        if done is not None:
            self._metrics.rollup_hours.inc()
            self._metrics.rollup_seconds.observe(done.seconds)
            self._days_at = min(self._days_at, time.monotonic() + _AFTER_HOUR_SECONDS)
            return True
        if self._sharing.share_one():
            self._metrics.rollup_days.inc()
            return True
        if time.monotonic() >= self._days_at:
            self._days_at = time.monotonic() + _BETWEEN_LOOKS_SECONDS
            self._sharing.look_around()
            return True
        if time.monotonic() < self._look_at:
            return False
        again = self._counting.look_around()
        self._look_at = time.monotonic() + (0 if again else _BETWEEN_LOOKS_SECONDS)
        return again

    def _spend(self) -> None:
        if time.monotonic() >= self._spending_at:
            # First: if it fails, hours are counted before it is tried again.
            self._spending_at = time.monotonic() + _BETWEEN_SPENDING_SECONDS
            self._spending.look(datetime.now(UTC))

    def _report(self) -> None:
        if time.monotonic() < self._report_at:
            return
        backlog = self._hours.backlog()
        self._metrics.dirty_hours.set(backlog.hours)
        age = datetime.now(UTC) - backlog.oldest if backlog.oldest else None
        self._metrics.oldest_dirty.set(max(0.0, age.total_seconds()) if age else 0.0)
        self._report_at = time.monotonic() + _BETWEEN_REPORTS_SECONDS
