"""What a run sent, to be compared with what was stored."""

from datetime import datetime
from pathlib import Path

import msgspec

from gpu_token_producers.counts import TopicCount
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.files import write_atomically
from gpu_token_producers.replay import Silence
from gpu_token_producers.traces.rows import BrokenRow

# A file in which every row is broken, or far from the next, must not make an endless report.
_MAX_LISTED_ROWS = 1_000


class SkippedRow(msgspec.Struct, frozen=True):
    """A row of the trace that was not sent."""

    line: int
    reason: str


class SilentSpan(msgspec.Struct, frozen=True):
    """Time between two rows, in order of time, for which no readings are sent."""

    from_row: int
    from_ts: datetime
    to_row: int
    to_ts: datetime


class Report(msgspec.Struct, kw_only=True):
    """Counts of one run.

    `sent`, `delivered` and `failed` are token usage; GPU metrics have their own three.
    `first_ts` and `last_ts` are the event time of token usage, `started_at` and `finished_at`
    the clock's. `unflushed` events had no delivery report when the run ended.
    """

    run: str
    # None: each row of the trace has its own.
    model: str | None
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    gpu_metrics_sent: int = 0
    gpu_metrics_delivered: int = 0
    gpu_metrics_failed: int = 0
    unflushed: int = 0
    skipped: int = 0
    skipped_rows: list[SkippedRow] = msgspec.field(default_factory=list)
    silences: int = 0
    silent_spans: list[SilentSpan] = msgspec.field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    started_at: datetime
    finished_at: datetime | None = None
    first_ts: datetime | None = None
    last_ts: datetime | None = None

    def skip(self, row: BrokenRow) -> None:
        """Count a broken row, and list it unless there are very many."""
        self.skipped += 1
        if len(self.skipped_rows) < _MAX_LISTED_ROWS:
            self.skipped_rows.append(SkippedRow(row.line, row.reason))

    def note_silence(self, silence: Silence) -> None:
        """Count a silence of the trace, and list it unless there are very many."""
        self.silences += 1
        if len(self.silent_spans) < _MAX_LISTED_ROWS:
            before, after = silence
            self.silent_spans.append(SilentSpan(before.row, before.ts, after.row, after.ts))

    def finish(self, usage: TopicCount, metrics: TopicCount, unflushed: int, at: datetime) -> None:
        """Take over the final counts."""
        self.sent, self.delivered, self.failed = usage.sent, usage.delivered, usage.failed
        self.gpu_metrics_sent = metrics.sent
        self.gpu_metrics_delivered = metrics.delivered
        self.gpu_metrics_failed = metrics.failed
        self.unflushed = unflushed
        self.finished_at = at

    def write(self, path: Path) -> None:
        """Write the report in one step."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
        try:
            write_atomically(path, content)
        except OSError as error:
            raise ProducerError(f"Report {path} cannot be written: {error.strerror}.") from error
