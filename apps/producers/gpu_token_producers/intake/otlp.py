"""`otlp`: token counts of OpenTelemetry's SDKs and collectors, over OTLP/HTTP.

Cumulative counters need what they last said, kept across restarts. Before their events are given to Kafka,
the new values and the events are saved together. So after a crash the same events are sent again, under the
same ids, and no count is lost or doubled.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from gpu_token_contracts import TokenUsage
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from gpu_token_producers.errors import ProducerError
from gpu_token_producers.intake.otlp_counters import Counters, Growth
from gpu_token_producers.intake.otlp_events import Grown, group_events
from gpu_token_producers.intake.otlp_points import Found, Point, find_points
from gpu_token_producers.intake.refusal import Refusal
from gpu_token_producers.intake.source import IntakeSource
from gpu_token_producers.intake.taken import Taken

_RETRY_SECONDS = 5

Deliver = Callable[[Sequence[TokenUsage]], Awaitable[None]]


class _Saved(msgspec.Struct):
    """`pending`: events of these counters that Kafka may not have yet."""

    counters: Counters
    pending: list[TokenUsage] = msgspec.field(default_factory=list)


class Otlp:
    """One source of metrics. Used by one event loop.

    Raises ProducerError if its state cannot be read or written.
    """

    def __init__(self, source: IntakeSource, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._labels = source.labels
        self._state = source.state
        self._name = source.name
        self._one_at_a_time = asyncio.Lock()
        self._saved = self._load()

    async def take(self, points: Found, deliver: Deliver) -> Taken:
        """Send what the points say. Raises Refusal if it is not certain that Kafka has all of it."""
        taken = Taken(ignored=points.ignored, refused=list(enumerate(points.refused)))
        delta = [_delta(point) for point in points.points if not point.cumulative]
        cumulative = [point for point in points.points if point.cumulative]
        self._collect(delta, taken)
        if not cumulative:
            await deliver(taken.events)
            return taken
        async with self._turn():
            await self._settle(deliver)
            counters = self._saved.counters.copy()
            grown: list[Grown] = []
            for point in cumulative:
                growth = counters.grow(point)
                if isinstance(growth, Growth):
                    grown.append((point, growth))
                else:
                    taken.ignored[growth] += 1
            counters.prune()
            counted = Taken(ignored=taken.ignored)
            self._collect(grown, counted)
            await self._save(_Saved(counters, counted.events))
            await self._settle(deliver)
        taken.refused += counted.refused
        if taken.events:
            await deliver(taken.events)
        taken.events += counted.events
        return taken

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            detail = "Kafka has not acknowledged earlier metrics yet: send the same again."
            raise Refusal(
                503, "not_acknowledged", detail, retry_after_seconds=_RETRY_SECONDS, body_read=True
            ) from None
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def _collect(self, grown: Sequence[Grown], taken: Taken) -> None:
        events, refused = group_events(grown, self._labels, taken.ignored)
        taken.events += events
        taken.refused += [(len(taken.refused) + number, text) for number, text in enumerate(refused)]

    async def _settle(self, deliver: Deliver) -> None:
        """Bring to Kafka what was saved for it."""
        if self._saved.pending:
            await deliver(self._saved.pending)
            # The file may name them still: then they are sent once more after a restart, and count once.
            self._saved.pending = []

    async def _save(self, saved: _Saved) -> None:
        try:
            await asyncio.to_thread(self._state.save, msgspec.json.encode(saved))
        except OSError as error:
            raise Refusal(
                503,
                "not_saved",
                f"The intake cannot save its state ({error.strerror}): see its log, and try again.",
                retry_after_seconds=30,
                body_read=True,
            ) from None
        self._saved = saved

    def _load(self) -> _Saved:
        content = self._state.load()
        if content is None:
            saved = _Saved(Counters(time.time_ns()))
            try:
                self._state.save(msgspec.json.encode(saved))
            except OSError as error:
                raise ProducerError(
                    f"The state of source {self._name} cannot be written: {error.strerror}."
                ) from error
            return saved
        try:
            return msgspec.json.decode(content, type=_Saved)
        except (ValueError, RecursionError) as error:
            raise ProducerError(
                f"The state of source {self._name} cannot be read ({error}): remove it to begin anew; "
                "then the next value of each cumulative counter is where counting begins."
            ) from error


def parse_metrics(body: bytes, *, is_json: bool) -> Found:
    """The points of a request. Raises Refusal 400 for a body that is none."""
    request = ExportMetricsServiceRequest()
    try:
        if is_json:
            # Trace ids are hexadecimal in OTLP, base64 for this parser: either way they are not used.
            json_format.Parse(body, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (json_format.ParseError, DecodeError, ValueError, RecursionError):
        raise Refusal(
            400, "unreadable", "The body is no ExportMetricsServiceRequest.", body_read=True
        ) from None
    return find_points(request)


def _delta(point: Point) -> Grown:
    return point, Growth(point.start_ns, point.tokens, point.requests, reset=False)
