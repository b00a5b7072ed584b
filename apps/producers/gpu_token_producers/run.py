"""One run: sends events, counts deliveries, and writes the report whatever happens."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from gpu_token_contracts import GpuMetric, TokenUsage, encode, metric_key, require_two_topics, usage_key

from gpu_token_producers.counts import Observer
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.progress import ProgressPrinter
from gpu_token_producers.replay import Silence
from gpu_token_producers.report import Report
from gpu_token_producers.sender import Sender
from gpu_token_producers.stop import StopRequest
from gpu_token_producers.traces.rows import BrokenRow

# A pair this late was delayed by a full buffer. Catching up would send too many events at once.
_MAX_LAG_SECONDS = 1.0
# The report lists more of them.
_SHOWN_ROWS = 10
# Of one silence in a trace. Whoever has to wait longer has most likely a wrong row.
_MAX_WAIT_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Where events go, and how long to wait for it."""

    bootstrap: str
    # librdkafka's settings of login and TLS, with the password.
    security: dict[str, str] = field(default_factory=dict, repr=False)
    topic_metric: str
    topic_token: str
    wait_seconds: float
    finish_seconds: float
    stop_seconds: float

    def __post_init__(self) -> None:
        require_two_topics(self.topic_metric, self.topic_token)


class Run:
    """Sends events and keeps their report.

    `with Run(…)` begins when Kafka has the topics. It ends with the deliveries and the report, and
    raises ProducerError if anything that was accepted is not known to be delivered.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        report: Report,
        report_path: Path | None,
        observers: Iterable[Observer] = (),
        *,
        kept_in: Path | None = None,
    ) -> None:
        """`kept_in` is where undelivered events outlive the run; then they are no failure."""
        self._kafka = kafka
        self._kept_in = kept_in
        self._report = report
        self._report_path = report_path
        if report_path is not None:
            # Before anything is sent, an unfinished report replaces that of an earlier run.
            report.write(report_path)
        self.stop = StopRequest()
        self.stop.listen()
        self.sender = Sender(
            kafka.bootstrap,
            self.stop,
            security=kafka.security,
            observers=(ProgressPrinter(report.run), *observers),
        )

    def __enter__(self) -> Self:
        """Wait for Kafka and its topics."""
        try:
            self.sender.wait_for_topics(
                (self._kafka.topic_metric, self._kafka.topic_token), self._kafka.wait_seconds
            )
        except BaseException:
            self._finish(unflushed=0)
            raise
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Wait for the deliveries and write the report, whatever happened."""
        unflushed = 0
        try:
            unflushed = self.sender.drain(self._kafka.finish_seconds, self._kafka.stop_seconds)
        finally:
            self._finish(unflushed)
        failed = self._report.failed + self._report.gpu_metrics_failed
        if self._kept_in is not None:
            if unflushed:
                print(
                    f"{unflushed} events had no delivery report at the stop: what {self._kept_in} keeps of "
                    "them is sent again at the next start, and who sent the others was not told that they "
                    "arrived.",
                    file=sys.stderr,
                    flush=True,
                )
        elif error_type is None and (failed or unflushed):
            raise ProducerError(
                f"Of {self.sender.totals().sent} events {failed} failed and "
                f"{unflushed} had no delivery report at the end. {self.sender.cause}".rstrip()
            )

    def replay(self, events: Iterable[TokenUsage | GpuMetric | BrokenRow | Silence], speed: float) -> None:
        """Send events in event time, `speed` times as fast as they happened; 0 is without waiting.

        Raises ProducerError, before anything is sent, at a silence that would have to be waited for too long.
        """
        first: datetime | None = None
        start = time.monotonic()
        for event in events:
            if isinstance(event, BrokenRow):
                self._report.skip(event)
                continue
            if isinstance(event, Silence):
                self._note(event, speed)
                continue
            if speed > 0:
                if first is None:
                    first, start = event.ts, time.monotonic()
                self.sender.pause_until(start + (event.ts - first).total_seconds() / speed)
            if self.stop.requested or not self._send(event):
                return
        if self.sender.totals().sent == 0:
            raise ProducerError("The file has no row that can be sent.")

    def generate(
        self,
        pairs: Iterator[tuple[GpuMetric, TokenUsage]],
        *,
        pairs_per_second: float,
        count: int | None,
        duration_seconds: float | None,
    ) -> None:
        """Send pairs at a rate until the count or the time is reached, or a stop is asked for."""
        begun = time.monotonic()
        end = None if duration_seconds is None else begun + duration_seconds
        if pairs_per_second == 0:
            self.sender.pause_until(end or float("inf"))
            return
        due = begun
        sent = 0
        while (count is None or sent < count) and (end is None or due < end):
            self.sender.pause_until(due)
            if self.stop.requested:
                return
            metric, usage = next(pairs)
            if not (self._send(metric) and self._send(usage)):
                return
            sent += 1
            due = max(due + 1 / pairs_per_second, time.monotonic() - _MAX_LAG_SECONDS)

    def _note(self, silence: Silence, speed: float) -> None:
        if speed > 0 and silence.seconds / speed > _MAX_WAIT_SECONDS:
            raise ProducerError(
                f"{silence}, which --speed {speed:g} makes a wait of {silence.seconds / speed / 3600:.1f} "
                f"hours (at most {_MAX_WAIT_SECONDS // 3600} is allowed): correct the row whose TIMESTAMP is "
                "wrong, or give a higher --speed (0 does not wait)."
            )
        self._report.note_silence(silence)
        if self._report.silences <= _SHOWN_ROWS:
            print(f"{silence}: no GPU has readings for that time.", file=sys.stderr, flush=True)

    def _send(self, event: GpuMetric | TokenUsage) -> bool:
        if isinstance(event, GpuMetric):
            return self.sender.send(self._kafka.topic_metric, metric_key(event), encode(event))
        if not self.sender.send(self._kafka.topic_token, usage_key(event), encode(event)):
            return False
        report = self._report
        report.prompt_tokens += event.prompt_tokens
        report.completion_tokens += event.completion_tokens
        report.first_ts = event.ts if report.first_ts is None else min(report.first_ts, event.ts)
        report.last_ts = event.ts if report.last_ts is None else max(report.last_ts, event.ts)
        return True

    def _finish(self, unflushed: int) -> None:
        report = self._report
        report.finish(
            self.sender.count(self._kafka.topic_token),
            self.sender.count(self._kafka.topic_metric),
            unflushed,
            datetime.now(UTC),
        )
        if self._report_path is not None:
            report.write(self._report_path)
        if report.skipped:
            for row in report.skipped_rows[:_SHOWN_ROWS]:
                print(f"Line {row.line} was skipped: {row.reason}", file=sys.stderr)
            print(
                f"Warning: {report.skipped} rows of the file were skipped; all others were read.",
                file=sys.stderr,
                flush=True,
            )
        if self.sender.totals().sent:
            print(
                f"{report.run}: {report.delivered} of {report.sent} usage events and "
                f"{report.gpu_metrics_delivered} of {report.gpu_metrics_sent} GPU metrics delivered.",
                file=sys.stderr,
                flush=True,
            )
