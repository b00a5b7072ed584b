"""The processor's thread that looks at budgets, slowly, and tells when a threshold is crossed."""

import logging
import threading
from datetime import UTC, datetime

from gpu_token_processor.background import BATCH_EVENTS, SHARE, Failures
from gpu_token_processor.budgets.budgets import Budgets, Status
from gpu_token_processor.budgets.telling import Telling
from gpu_token_processor.budgets.watch import Watch
from gpu_token_processor.budgets.webhook import Webhook
from gpu_token_processor.exports.days import Ledgers, Shape
from gpu_token_processor.ledger.exact import PICO_PER_USD, exact
from gpu_token_processor.ledger.ledger import Ledger
from gpu_token_processor.metrics import BudgetReading, Metrics
from gpu_token_processor.rollups.pace import Halted, Pace
from gpu_token_processor.settings import Settings
from gpu_token_processor.store.alerts import MongoAlerts
from gpu_token_processor.store.clients import budget_client
from gpu_token_processor.store.reads import MongoReads
from gpu_token_processor.store.rollups import MongoRollups

log = logging.getLogger(__name__)

_BETWEEN_LOOKS_SECONDS = 60.0


class BudgetWorker:
    """Owns the thread, and a MongoDB client of its own."""

    def __init__(self, settings: Settings, metrics: Metrics, webhook: Webhook | None) -> None:
        self._stop = threading.Event()
        client = budget_client(settings)
        reads = MongoReads(client, settings.mongo_database, BATCH_EVENTS)
        rollups = MongoRollups(client, settings.mongo_database, settings.retention)
        pace = Pace(SHARE, self._stop)
        price = exact(settings.price_per_hour_usd)
        budgets = Budgets(
            lambda: _Restful(Ledgers(reads, rollups, settings.metric_gap_us, price), pace),
            rollups.hours_of_events,
        )
        alerts = MongoAlerts(client, settings.mongo_database)
        self._watch = Watch(budgets, alerts)
        self._telling = webhook and Telling(alerts, webhook, metrics, lambda: datetime.now(UTC))
        self._metrics = metrics
        metrics.report_budgets(lambda: [_reading(status) for status in self._watch.latest])
        self._thread = threading.Thread(target=self._run, name="budgets", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Nobody waits: what is not told, and not noted as told, is told again."""
        self._stop.set()

    def _run(self) -> None:
        failures = Failures(
            log, without_store="budgets are not looked at", otherwise="budgets cannot be looked at"
        )
        while not self._stop.is_set():
            try:
                self._watch.look(datetime.now(UTC))
                if self._telling:
                    self._telling.tell()
                failures.end()
            except Halted:
                return
            except Exception as error:
                failures.note(error)
                self._metrics.budget_look_failures.inc()
            self._stop.wait(_BETWEEN_LOOKS_SECONDS)


class _Restful:
    """Ledgers that leave most of a core to others."""

    def __init__(self, ledgers: Ledgers, pace: Pace) -> None:
        self._ledgers = ledgers
        self._pace = pace
        self.budgets = ledgers.budgets

    def of(self, start_us: int, end_us: int, shape: Shape) -> Ledger:
        """See Ledgers. Raises Halted."""
        with self._pace.work():
            return self._ledgers.of(start_us, end_us, shape)


def _reading(status: Status) -> BudgetReading:
    forecast_pico = status.forecast_pico
    return BudgetReading(
        status.budget.name,
        status.limit_pico / PICO_PER_USD,
        status.spent_pico / PICO_PER_USD,
        float(status.spent_share),
        None if forecast_pico is None else forecast_pico / PICO_PER_USD,
    )
