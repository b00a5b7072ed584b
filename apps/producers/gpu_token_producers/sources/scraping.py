"""Asks targets at intervals, and turns each answer into events."""

import re
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sources.counters import Look, advance, look, uncounted
from gpu_token_producers.sources.engines import ENGINES, wanted
from gpu_token_producers.sources.exposition import NotAnExposition, Sample, looks_like_one, parse
from gpu_token_producers.sources.fetch import Answer, Fetcher, SourceError
from gpu_token_producers.sources.interval_usage import interval_usage
from gpu_token_producers.sources.journal import MAX_PENDING, Journal
from gpu_token_producers.sources.settings import EngineSource
from gpu_token_producers.sources.status import Status

# Longer than a server takes for a day.
_SERVERS_SECONDS: Final = 60
ACCEPT: Final = "text/plain;version=0.0.4"


def now_us() -> int:
    """The clock's time in microseconds since 1970, on the store's grid of milliseconds."""
    return time.time_ns() // 1_000_000 * 1000


class Reader(ABC):
    """Asks one source, again and again, in a thread of its own."""

    def __init__(
        self,
        status: Status,
        journals: list[Journal],
        interval_seconds: float,
        fetcher: Fetcher | None = None,
    ) -> None:
        """`fetcher` is what the thread asks with, if it asks over HTTP."""
        self.status = status
        self._asks_with = fetcher
        self._journals = journals
        self._interval_seconds = interval_seconds
        self._puzzled = False
        self.stop = threading.Event()

    def run(self) -> None:
        """Ask again and again, until `stop` is set."""
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            # Where one look took longer than the interval, those in between are left out.
            due = max(due + self._interval_seconds, time.monotonic())
            try:
                self.look()
            except SourceError as error:
                self._fails(error)
            except ProducerError as error:
                self._fails(SourceError("state", str(error).rstrip(".")))
            except Exception as error:
                # Nothing that one source answers may end the reading of it, or of others.
                self._explain(error)
        if self._asks_with is not None:
            self._asks_with.close()

    def give_up(self) -> None:
        """End a wait for the source. From any thread, after `stop` is set."""
        if self._asks_with is not None:
            self._asks_with.give_up()

    def look(self) -> None:
        """Ask once. Raises SourceError."""
        for journal in self._journals:
            journal.resend()
            for notice in journal.take_notices():
                self.status.tell(notice)
            if journal.full:
                raise SourceError(
                    "kafka",
                    f"is not asked while {MAX_PENDING} events wait for Kafka; its next interval is longer",
                )
        self.status.refused(next((each.refused for each in self._journals if each.refused), None))
        self._ask()

    def settle(self) -> None:
        """Forget what Kafka has by now. Raises ProducerError."""
        for journal in self._journals:
            journal.settle()

    @abstractmethod
    def _ask(self) -> None:
        """Ask, and record what came of it. Raises SourceError."""

    def _fails(self, error: SourceError) -> None:
        # What ends because of a stop is no fault.
        if not self.stop.is_set():
            self.status.fails(error)

    def _explain(self, error: Exception) -> None:
        if not self._puzzled:
            self._puzzled = True
            traceback.print_exc(file=sys.stderr)
        name = type(error).__name__
        self.status.fails(SourceError(f"unforeseen {name}", f"failed in a way that is not foreseen ({name})"))


class EngineReader(Reader):
    """An inference engine's counters."""

    def __init__(
        self, source: EngineSource, status: Status, journal: Journal, first: Sequence[threading.Event] = ()
    ) -> None:
        """`first` are set when servers that have the engine too were read up to now."""
        self._fetcher = Fetcher(source.timeout_seconds, source.token_file)
        super().__init__(status, [journal], source.interval_seconds, self._fetcher)
        self._first = first
        self._source = source
        self._journal = journal
        self._engine = ENGINES[source.type]
        self._wanted = wanted(self._engine)

    def _ask(self) -> None:
        source = self._source
        if self._journal.last is not None:
            self._wait_for_servers()
        seen, remarks = self._seen(self._fetcher.get(str(source.target), accept=ACCEPT))
        with self._journal.lock:
            before = self._journal.last
            if before is None:
                self._journal.record([], last=seen, began=seen)
                self.status.works(0)
                self.status.remark(remarks)
                return
            if seen.at_us <= before.at_us:
                raise SourceError(
                    "clock", "was asked before its last look, by this machine's clock: check the clock"
                )
            step = advance(self._engine, before, seen)
            events = [
                interval_usage(each, source.address, source.labels, source.target.scheme)
                for each in step.intervals
            ]
            self._journal.record(events, last=step.look)
            self.status.works(len(events), sum(each.resets for each in step.intervals))
            self.status.remark(remarks.union(step.remarks))

    def _wait_for_servers(self) -> None:
        deadline = time.monotonic() + _SERVERS_SECONDS
        for caught_up in self._first:
            while not caught_up.is_set() and time.monotonic() < deadline and not self.stop.wait(0.1):
                pass
        self._first = ()

    def _seen(self, answer: Answer) -> tuple[Look, frozenset[str]]:
        """The counters, and what is to be told of them."""
        late = self._engine.appears_late
        empty = late is not None and not answer.body.strip()
        samples = [] if empty else samples_of(answer, self._wanted)
        seen = look(
            self._engine,
            samples,
            at_us=now_us(),
            model=self._source.labels.model,
            clock_ahead_us=answer.clock_ahead_us,
        )
        remarks = uncounted(self._engine, samples)
        if not seen.series and remarks:
            raise SourceError("no counters", f"answers without a counter that can be: {min(remarks)}")
        other = not empty and not (late and re.search(rf"(?m)^(# \w+ )?{late}[:_]".encode(), answer.body))
        if not seen.series and other:
            raise SourceError(
                "no counters",
                f"answers without any counter of the type {self._source.type}: check the type, and the path "
                f"of the target, {self._source.target.path}",
            )
        return seen, remarks


def samples_of(answer: Answer, names: frozenset[str]) -> list[Sample]:
    """The wanted samples of an answer. Raises SourceError if it is no exposition."""
    text = answer.body.decode("utf-8", "replace")
    if not looks_like_one(text):
        kind = answer.content_type.partition(";")[0] or "something"
        raise SourceError(
            "no exposition", f"answers {kind} that is not in Prometheus' format: check the target's path"
        )
    try:
        return list(parse(text, names))
    except NotAnExposition as error:
        raise SourceError("no exposition", str(error)) from error
