"""The HTTP application: takes what is sent, and answers when Kafka has it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from gpu_token_contracts import TokenUsage
from gpu_token_contracts.notes import Notes
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gpu_token_producers.delivery import Busy, Delivery, DeliveryError
from gpu_token_producers.intake import answers
from gpu_token_producers.intake.access import Access
from gpu_token_producers.intake.body import drain, read_body
from gpu_token_producers.intake.limits import Limits, Room
from gpu_token_producers.intake.litellm import read_litellm
from gpu_token_producers.intake.metrics import IntakeMetrics
from gpu_token_producers.intake.openai_usage import read_usage
from gpu_token_producers.intake.otlp import Otlp, parse_metrics
from gpu_token_producers.intake.refusal import Refusal
from gpu_token_producers.intake.source import PATHS, IntakeSource, IntakeType
from gpu_token_producers.intake.taken import Taken

log = logging.getLogger(__name__)

# In the metrics, for a request that names no source.
_NO_SOURCE = "none"
_RETRY_SECONDS = 5
# Until a refused body has come; a stranger, and who was too slow already, is not waited for.
_USUAL_DRAIN_SECONDS = 5.0
_DRAIN_SECONDS = {"unauthorized": 0.5, "too_slow": 0.0, "cut_off": 0.0}
_READERS = {"openai_usage": read_usage, "litellm": read_litellm}


def create_app(
    sources: Sequence[IntakeSource],
    token: str,
    deliver: Delivery,
    metrics: IntakeMetrics,
    limits: Limits | None = None,
) -> FastAPI:
    """The application for these sources, whose names differ.

    Raises ProducerError if the state of a source cannot be used.
    """
    intake = _Intake(sources, token, deliver, metrics, limits or Limits())
    app = FastAPI(title="GPU and token intake", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _unexpected)

    for kind, path in PATHS.items():
        endpoint = _endpoint(intake, kind)
        app.add_route(path, endpoint, methods=["POST"])
        app.add_route(f"{path}/{{source}}", endpoint, methods=["POST"])

    async def health(_: Request) -> Response:
        return answers.success({"status": "ok"})

    async def show_metrics(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_route("/health", health, methods=["GET"])
    app.add_route("/metrics", show_metrics, methods=["GET"])
    return app


def _endpoint(intake: "_Intake", kind: IntakeType) -> Any:
    async def endpoint(request: Request) -> Response:
        return await intake.answer(request, kind)

    return endpoint


class _Intake:
    """Used by one event loop."""

    def __init__(
        self,
        sources: Sequence[IntakeSource],
        token: str,
        deliver: Delivery,
        metrics: IntakeMetrics,
        limits: Limits,
    ) -> None:
        self._sources = sources
        self._otlp = {
            source.name: Otlp(source, limits.ack_seconds) for source in sources if source.type == "otlp"
        }
        self._access = Access(token)
        self._delivery = deliver
        self._metrics = metrics
        self._limits = limits
        self._room = Room(limits.bodies_bytes)
        self._at_once = 0
        self._notes = Notes(log)

    async def answer(self, request: Request, kind: IntakeType) -> Response:
        """The answer to one request, counted."""
        source: IntakeSource | None = None
        outcome = "failed"
        counted = 0
        try:
            self._access.check(request)
            counted = 1
            self._at_once += counted
            source = self._find(kind, request.path_params.get("source"))
            if self._at_once > self._limits.requests_at_once:
                raise Refusal(503, "too_many", "Too many requests at once: try again.", retry_after_seconds=1)
            response, outcome = await self._take(request, source)
            return response
        except Refusal as refused:
            outcome = refused.outcome
            self._note(request, source, refused)
            if not refused.body_read:
                await drain(request, _DRAIN_SECONDS.get(refused.outcome, _USUAL_DRAIN_SECONDS))
            return answers.refusal(request, refused)
        finally:
            self._at_once -= counted
            self._metrics.requests.labels(source.name if source else _NO_SOURCE, outcome).inc()

    def _find(self, kind: IntakeType, name: str | None) -> IntakeSource:
        of_kind = {source.name: source for source in self._sources if source.type == kind}
        if not of_kind:
            detail = f"No source of type {kind} is configured: add one to sources.yml and restart collect."
        elif name is not None:
            if name in of_kind:
                return of_kind[name]
            detail = f"No source of type {kind} has this name: send to {PATHS[kind]}/<name of the source>."
        elif len(of_kind) == 1:
            return next(iter(of_kind.values()))
        else:
            detail = f"Several sources are of type {kind}: send to {PATHS[kind]}/<name of the source>."
        raise Refusal(404, "not_configured", detail)

    async def _take(self, request: Request, source: IntakeSource) -> tuple[Response, str]:
        is_metrics = source.type == "otlp"
        if is_metrics and answers.media_type(request) not in (answers.JSON, answers.PROTOBUF):
            raise Refusal(
                415, "unreadable", f"Send OTLP as Content-Type {answers.PROTOBUF} or {answers.JSON}."
            )
        with self._room.hold() as held:
            body = await read_body(request, self._limits, held)
            # What it unfolds to is gone when the block ends; only events wait for Kafka.
            if is_metrics:
                points = parse_metrics(body, is_json=answers.media_type(request) == answers.JSON)
            else:
                taken = _READERS[source.type](body, source.labels, self._limits.entries)
            del body
        if is_metrics:
            taken = await self._otlp[source.name].take(points, self._deliver)
        else:
            if taken.useless:
                self._count(source, taken)
                raise Refusal(
                    400,
                    "unreadable",
                    f"None of the objects can be used; the first: {taken.refused[0][1]}",
                    body_read=True,
                    members=taken.report(),
                )
            await self._deliver(taken.events)
        self._count(source, taken)
        source.received(len(taken.events))
        outcome = "partly" if taken.refused else "accepted"
        if not is_metrics:
            return answers.success(taken.report()), outcome
        return answers.message(request, _export_response(taken)), outcome

    async def _deliver(self, events: Sequence[TokenUsage]) -> None:
        """Returns when Kafka has the events. Raises Refusal 502 or 503."""
        if not events:
            return
        try:
            waiting = asyncio.wrap_future(self._delivery.submit(events))
        except Busy:
            raise Refusal(
                503,
                "busy",
                "Kafka takes less than arrives: send the same again later.",
                retry_after_seconds=_RETRY_SECONDS,
                body_read=True,
            ) from None
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            # Shielded: whoever gives up waiting must not cancel the delivery.
            await asyncio.wait_for(asyncio.shield(waiting), self._limits.ack_seconds)
        except TimeoutError:
            raise Refusal(
                503,
                "not_acknowledged",
                f"Kafka did not acknowledge within {self._limits.ack_seconds:g} seconds: send it again; "
                "it counts once.",
                retry_after_seconds=_RETRY_SECONDS,
                body_read=True,
            ) from None
        except DeliveryError as error:
            self._notes.say("delivery", "Kafka has refused an event: %s", error)
            raise Refusal(
                502,
                "refused_by_kafka",
                "Kafka has refused an event: the log of collect says why.",
                body_read=True,
            ) from None

    def _count(self, source: IntakeSource, taken: Taken) -> None:
        self._metrics.events.labels(source.name).inc(len(taken.events))
        for reason, number in taken.ignored.items():
            self._metrics.ignored.labels(source.name, reason).inc(number)
        if taken.refused:
            self._metrics.ignored.labels(source.name, "refused").inc(len(taken.refused))
            self._notes.say(
                f"refused {source.name}",
                "source %s: %d of what it sent cannot be used; the first: %s",
                source.name,
                len(taken.refused),
                taken.refused[0][1],
            )

    def _note(self, request: Request, source: IntakeSource | None, refused: Refusal) -> None:
        self._notes.say(
            f"{refused.outcome} {source.name if source else _NO_SOURCE}",
            "refused a request to %s from %s: %s",
            PATHS[source.type] if source else request.url.path[:100],
            request.client.host if request.client else "unknown",
            refused.detail,
        )


def _export_response(taken: Taken) -> ExportMetricsServiceResponse:
    response = ExportMetricsServiceResponse()
    if taken.refused:
        response.partial_success.rejected_data_points = len(taken.refused)
        response.partial_success.error_message = taken.refused[0][1]
    return response


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"There is no such request here: send a POST to one of {', '.join(PATHS.values())}."
    refused = Refusal(error.status_code, "unknown", detail, headers=error.headers)
    return answers.refusal(request, refused)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs it with its trace.
    return answers.refusal(
        request,
        Refusal(500, "failed", "The intake failed: its log says why. Send the same again."),
    )
