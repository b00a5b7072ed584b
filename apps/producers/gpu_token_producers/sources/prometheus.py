"""Engines and GPUs as a Prometheus server has them: now, and backwards to what it still keeps.

The server's samples are laid on a grid of whole steps, so that the same time always gives the same
intervals, and so the same events. An engine has one file of how far it was read, whoever reads it.
Where it has a source of its own, two things are left to be read here: what is older than that source's
first look, and, at the start, what happened while nobody looked.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec
from gpu_token_contracts import GpuMetric, TokenUsage, moment

from gpu_token_producers.sources.counters import Look, advance, look, uncounted
from gpu_token_producers.sources.engines import ENGINES, PROCESS_START, Engine, wanted
from gpu_token_producers.sources.exposition import Sample
from gpu_token_producers.sources.fetch import Fetcher, SourceError
from gpu_token_producers.sources.gpus.exporters import EXPORTERS
from gpu_token_producers.sources.interval_usage import interval_usage
from gpu_token_producers.sources.journal import Journal
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.sources.scraping import Reader, now_us
from gpu_token_producers.sources.settings import PrometheusSource
from gpu_token_producers.sources.status import Status

_MICRO: Final = 1_000_000
# A question is about so many steps that its answer has about so many points: it must fit into memory. The
# server itself answers at most 11,000 steps.
_FIRST_STEPS: Final = 16
_MOST_STEPS: Final = 960
_MOST_POINTS: Final = 100_000
# What a question about fewer steps may do away with.
_TOO_MUCH: Final = frozenset({"too large", "too slow", "status 422", "status 503", "status 504"})
# The newest samples may not all be there yet.
_SETTLING_US: Final = 5 * _MICRO
# A server answers with the newest sample of the last five minutes.
_LOOKBACK_US: Final = 300 * _MICRO
# Read before `since` without events: what an engine had begun to count is then known, whenever a pass begins.
_WARM_UP_US: Final = 600 * _MICRO
_LONG_US: Final = 3600 * _MICRO
# A reading covers the 30 seconds after it: with longer steps a GPU that was always there would cost less.
_GPU_STEP_US: Final = 15 * _MICRO


class _Result(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Data(msgspec.Struct):
    result: list[_Result] = []


class _Answer(msgspec.Struct):
    status: str
    data: _Data = msgspec.field(default_factory=_Data)
    error: str = ""


class Moment(NamedTuple):
    """All samples of one target at one point of the grid, and the jobs that they are of."""

    at_us: int
    samples: list[Sample]
    jobs: tuple[str, ...] = ("",)


class PrometheusReader(Reader):
    """Reads a server from where it stopped to now, some steps at a time."""

    def __init__(
        self,
        source: PrometheusSource,
        status: Status,
        own: Journal,
        *,
        engine_journal: Callable[[str, str], Journal],
        scraped: Collection[tuple[str, str]],
    ) -> None:
        """`own` is of the server: how far it was read, and the GPU readings that wait for Kafka.

        `engine_journal` gives an engine's journal, by its type and address; `scraped` are those that
        have sources of their own.
        """
        self._fetcher = Fetcher(source.timeout_seconds, source.token_file)
        super().__init__(status, [own], source.interval_seconds, self._fetcher)
        self._own = own
        self._source = source
        self.reads = source.reads
        self._step_us = source.step_seconds * _MICRO
        self._gpu_step_us = min(self._step_us, _GPU_STEP_US)
        reads_gpus = any(kind in EXPORTERS for kind in source.reads)
        finer = self._step_us // self._gpu_step_us if reads_gpus else 1
        self._most_steps = max(_MOST_STEPS // finer, 1)
        self._steps = min(_FIRST_STEPS, self._most_steps)
        self._points = 0
        # The kinds of which this look has found any series, and what is to be told of the others.
        self._found: set[str] = set()
        self._missing: frozenset[str] = frozenset()
        self._remarks: frozenset[str] = frozenset()
        self._engine_journal = engine_journal
        self._scraped = scraped
        # Set once the server was read to the present. After our restart, those who scrape its engines wait
        # for it a while: what an engine did before it restarted meanwhile, only the server can tell.
        self.caught_up = threading.Event()
        self._engines: dict[tuple[str, str], Journal] = {}
        self._since_us = (
            None if source.since is None else now_us() - source.since // timedelta(microseconds=1)
        )

    def _ask(self) -> None:
        if self._scraped and not self.caught_up.is_set():
            # Until the server has all that happened before our start.
            self.stop.wait((_SETTLING_US + self._step_us) / _MICRO)
        self._catch_up()
        self.caught_up.set()

    def _catch_up(self) -> None:
        start_us = cursor_us = self._cursor_us()
        end_us = self._on_grid(now_us() - _SETTLING_US)
        if cursor_us >= end_us:
            return
        self._found.clear()
        while cursor_us < end_us:
            stop_us = min(cursor_us + self._steps * self._step_us, end_us)
            try:
                self._read(cursor_us, stop_us)
            except SourceError as error:
                if error.kind not in _TOO_MUCH or self._steps == 1:
                    raise
                self._steps //= 2
                continue
            cursor_us = stop_us
            if self._points * 2 <= _MOST_POINTS:
                self._steps = min(self._steps * 2, self._most_steps)
            if end_us - start_us > _LONG_US:
                self._tell(start_us, cursor_us, end_us)
            while any(journal.full for journal in self._journals):
                if self.stop.wait(0.5):
                    return
                for journal in self._journals:
                    journal.resend()
            if self.stop.is_set():
                return
        self._missing = frozenset(
            self._nothing_of(kind) for kind in self._source.reads if kind not in self._found
        )
        self.status.remark(self._remarks | self._missing)

    def _nothing_of(self, kind: str) -> str:
        match = f" with the match {self._source.match}" if self._source.match else ""
        engine = ENGINES.get(kind)
        late = engine is not None and engine.appears_late is not None
        return (
            f"the server has no series of the type {kind}{match}: check reads and match, and that the server "
            f"scrapes it{'. Before the first request there is none' if late else ''}"
        )

    def _cursor_us(self) -> int:
        """Up to where the server was read; a `since` before all that begins anew, and repeats events."""
        began, last = self._own.began, self._own.last
        start_us = self._on_grid(now_us() if self._since_us is None else self._since_us)
        reaches_back = self._since_us is None or (
            began is not None and began.at_us <= start_us + self._step_us
        )
        if last is not None and reaches_back:
            return last.at_us
        cursor_us = start_us - _WARM_UP_US
        self._own.record([], last=Look(cursor_us, ()), began=Look(start_us, ()))
        return cursor_us

    def _read(self, after_us: int, to_us: int) -> None:
        """The points of the grid in (after, to]."""
        began = self._own.began
        assert began is not None
        events = resets = self._points = 0
        remarks: set[str] = set()
        metrics: list[GpuMetric] = []
        for kind in self._source.reads:
            engine = ENGINES.get(kind)
            names = EXPORTERS[kind].wanted if engine is None else wanted(engine)
            step_us = self._gpu_step_us if engine is None else self._step_us
            found_moments = self._moments(names, after_us, to_us, step_us)
            if found_moments:
                self._found.add(kind)
            for instance, moments in found_moments.items():
                if engine is None:
                    fresh = [moment for moment in moments if moment.at_us > began.at_us]
                    metrics += self._readings(kind, instance, fresh)
                    continue
                made, found, said = self._count(kind, instance, moments, began.at_us, to_us)
                events, resets = events + made, resets + found
                remarks |= said
        self._own.record(metrics, last=Look(to_us, ()))
        self.status.works(events + len(metrics), resets)
        self._remarks = frozenset(remarks)
        self.status.remark(self._remarks | self._missing)

    def _readings(self, kind: str, instance: str, moments: Sequence[Moment]) -> Iterator[GpuMetric]:
        labels = self._labels(instance)
        for each in moments:
            yield from EXPORTERS[kind].readings(
                each.samples, instance, moment(each.at_us), labels, self._source.deployments
            )

    def _count(
        self, kind: str, instance: str, moments: Sequence[Moment], from_us: int, to_us: int
    ) -> tuple[int, int, set[str]]:
        """Record one engine's intervals; returns how many, the resets, and what is to be told."""
        remarks = self._unknown_model(kind, instance)
        single = [moment for moment in moments if len(moment.jobs) == 1]
        if len(single) < len(moments):
            jobs = max((moment.jobs for moment in moments), key=len)
            remarks.add(
                f"two targets have the instance {instance} (jobs {', '.join(jobs)}) and are not read while "
                "they do: give a match that leaves one, or each an instance of its own in the server"
            )
        journal = self._journal_of(kind, instance)
        chain = _Chain(ENGINES[kind], instance, self._labels(instance), from_us)
        with journal.lock:
            self._go_on(journal, chain, single, to_us, scraped=(kind, instance) in self._scraped)
        return len(chain.events), chain.resets, chain.remarks | remarks

    def _go_on(
        self, journal: Journal, chain: "_Chain", moments: Sequence[Moment], to_us: int, *, scraped: bool
    ) -> None:
        """Take the moments that nobody has read, and record what comes of them."""
        state = journal.state
        began, last = state.began, state.last
        past = _Span(state.past_began, state.past)
        now = _Span(began, last)
        for each in moments:
            if began is None and not scraped:
                chain.go_on(now, each)
            elif began is None or each.at_us < began.at_us:
                chain.go_on(past, each)
            elif not scraped or not self.caught_up.is_set():
                chain.go_on(now, each)
        if past.last is not None and began is not None and to_us >= began.at_us:
            # What was read from the past ends where the rest began.
            chain.join(past, began)
            now.began = past.began
            past = _Span(None, None)
        changes: dict[str, Look | None] = {}
        for name, seen in {
            "began": now.began,
            "last": now.last,
            "past": past.last,
            "past_began": past.began,
        }.items():
            if seen is not getattr(state, name):
                changes[name] = seen
        if changes:
            journal.update(chain.events, **changes)

    def _unknown_model(self, kind: str, instance: str) -> set[str]:
        if ENGINES[kind].model_label is not None or self._labels(instance).model is not None:
            return set()
        return {
            f"{instance} is not read: a server of type {kind} does not say which model it has. Give "
            f"instances: {{'{instance}': {{model: NAME}}}}"
        }

    def _journal_of(self, kind: str, instance: str) -> Journal:
        if (kind, instance) not in self._engines:
            journal = self._engines[kind, instance] = self._engine_journal(kind, instance)
            self._journals.append(journal)
            journal.resend()
        return self._engines[kind, instance]

    def _labels(self, instance: str) -> Labels:
        own = self._source.instances.get(instance)
        if own is None:
            return self._source.labels
        return self._source.labels.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )

    def _moments(
        self, names: frozenset[str], after_us: int, to_us: int, step_us: int
    ) -> dict[str, list[Moment]]:
        """The samples of each target at each point of a grid of such steps, in order of time."""
        first_us = after_us // step_us * step_us + step_us
        if first_us > to_us:
            return {}
        found: dict[tuple[str, int], dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        points = 0
        for series in self._query(names, first_us, to_us, step_us):
            name = series.metric.pop("__name__", "")
            instance = series.metric.pop("instance", "")
            job = series.metric.pop("job", "")
            points += len(series.values)
            for at_seconds, value in series.values:
                sample = Sample(name, series.metric, _number(value))
                found[instance, round(at_seconds * _MICRO)][job].append(sample)
        self._points = max(self._points, points)
        moments: dict[str, list[Moment]] = defaultdict(list)
        for instance, at_us in sorted(found):
            # Each target of a server shows when it began, of whatever kind it is.
            of_jobs = {
                job: samples
                for job, samples in found[instance, at_us].items()
                if any(sample.name != PROCESS_START for sample in samples)
            }
            if of_jobs:
                samples = [sample for each in of_jobs.values() for sample in each]
                moments[instance].append(Moment(at_us, samples, tuple(sorted(of_jobs))))
        return moments

    def _query(self, names: frozenset[str], start_us: int, end_us: int, step_us: int) -> list[_Result]:
        matchers = [f'__name__=~"{"|".join(sorted(names))}"', self._source.match]
        params: dict[str, str | float] = {
            "query": "{" + ",".join(filter(None, matchers)) + "}",
            "start": start_us / _MICRO,
            "end": end_us / _MICRO,
            "step": step_us // _MICRO,
        }
        url = f"{str(self._source.target).rstrip('/')}/api/v1/query_range"
        answer = self._fetcher.get(url, params, accept="application/json")
        try:
            decoded = msgspec.json.decode(answer.body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise SourceError(
                "no json", f"answers what no Prometheus server does ({error}): check the target"
            ) from error
        if decoded.status != "success":
            raise SourceError("refused", f"refuses the question: {decoded.error}")
        return decoded.data.result

    def _tell(self, start_us: int, cursor_us: int, end_us: int) -> None:
        at = moment(cursor_us)
        share = (cursor_us - start_us) / (end_us - start_us)
        hours = (end_us - start_us) / _LONG_US
        self.status.progress(f"has read up to {at:%Y-%m-%dT%H:%M:%SZ}, {share:.0%} of {hours:.0f} hours")

    def _on_grid(self, at_us: int) -> int:
        return at_us // self._step_us * self._step_us


class _Span:
    """A time that was read: its first look and its last."""

    def __init__(self, began: Look | None, last: Look | None) -> None:
        self.began = began
        self.last = last


class _Chain:
    """Goes from look to look of one engine, and makes the events of the intervals after `from_us`."""

    def __init__(self, engine: Engine, instance: str, labels: Labels, from_us: int) -> None:
        self._engine = engine
        self._instance = instance
        self._labels = labels
        self._from_us = from_us
        self.events: list[TokenUsage] = []
        self.resets = 0
        self.remarks: set[str] = set()

    def go_on(self, span: _Span, moment: Moment) -> None:
        """To a moment; one that was read already, or that has none of the engine's counters, is left out."""
        if span.last is not None and moment.at_us <= span.last.at_us:
            return
        seen = look(
            self._engine,
            moment.samples,
            at_us=moment.at_us,
            model=self._labels.model,
            age_us=_LOOKBACK_US,
        )
        self.remarks |= {f"{self._instance}: {remark}" for remark in uncounted(self._engine, moment.samples)}
        if seen.series:
            self.join(span, seen)

    def join(self, span: _Span, seen: Look) -> None:
        """To a look."""
        if span.last is None:
            span.began = span.last = seen
            return
        if seen.at_us <= span.last.at_us or _is_older(seen, span.last):
            return
        step = advance(self._engine, span.last, seen)
        span.last = step.look
        if seen.at_us <= self._from_us:
            span.began = step.look
            return
        self.events += [interval_usage(each, self._instance, self._labels) for each in step.intervals]
        self.resets += sum(each.resets for each in step.intervals)
        self.remarks |= {f"{self._instance}: {remark}" for remark in step.remarks}


def _is_older(seen: Look, last: Look) -> bool:
    """Whether the server still shows what was so before another source looked last.

    Its newest sample may be from before that look, and show less.
    """
    if last.age_us or seen.at_us - last.at_us > seen.age_us:
        return False
    began = {each.created for each in last.series}
    if all(each.created is not None and each.created not in began for each in seen.series):
        # The engine has begun anew.
        return False
    shown = _totals(seen)
    return any(shown.get(counter, total) < total for counter, total in _totals(last).items())


def _totals(seen: Look) -> dict[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for each in seen.series:
        totals[f"{each.quantity} {each.counter}"] += each.value
    return totals


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SourceError(
            "no json", f"answers {text[:40]!r}, which is no number: check the target"
        ) from error
