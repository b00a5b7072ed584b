"""The HTTP application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import pymongo
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp

from gpu_token_processor import VERSION
from gpu_token_processor.api import openapi, problems
from gpu_token_processor.api.access import Access
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.api.budgets import BudgetsAnswer, budget_routes
from gpu_token_processor.api.catalog import catalog_routes
from gpu_token_processor.api.deadlines import ANSWER_SECONDS, store_answers
from gpu_token_processor.api.events import Changes, event_routes
from gpu_token_processor.api.exports import export_routes
from gpu_token_processor.api.head import HeadAsGet
from gpu_token_processor.api.headers import SecurityHeaders
from gpu_token_processor.api.limits import Limits, Rates
from gpu_token_processor.api.measure import Measure
from gpu_token_processor.api.models import (
    Answer,
    CostAnswer,
    DeadLettersAnswer,
    FullHealthAnswer,
    GpuInfoAnswer,
    HealthAnswer,
    ThroughputAnswer,
    UsageAnswer,
)
from gpu_token_processor.api.page import page_routes
from gpu_token_processor.api.parameters import (
    GpuParameters,
    LedgerParameters,
    NoParameters,
    RangeParameters,
    UsageParameters,
    given_once,
)
from gpu_token_processor.api.questions import Questions
from gpu_token_processor.exports.exports import Exports
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.question import parse_group_by
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.selection import Selection

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of."""

    answers: Answers
    exports: Exports
    changes: Changes
    budgets: Callable[[], BudgetsAnswer]
    metrics: Metrics
    live: Callable[[], HealthAnswer]
    ready: Callable[[], HealthAnswer]
    health: Callable[[], FullHealthAnswer]
    # None: no token is needed.
    token: str | None
    rates: Rates
    lifespan: Lifespan = field(default=_no_lifespan)
    catalog: Callable[[], Catalog] = Catalog


def create_app(parts: Parts) -> ASGIApp:
    """The application; it also runs while Kafka or MongoDB are not there."""
    app = FastAPI(
        title="GPU and token cost",
        version=VERSION,
        description="Token usage and what it costs, in event time. Ranges are [start, end) in UTC.",
        lifespan=parts.lifespan,
        # Their pages load scripts from the internet, which a machine need not reach.
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    # The last one added is the outermost, so it also measures what the others refuse.
    if parts.token is not None:
        app.add_middleware(Access, token=parts.token)
    app.add_middleware(Limits, rates=parts.rates, token=parts.token)
    app.add_middleware(Measure, seconds=parts.metrics.http_requests)
    questions = Questions()
    for router in (
        _health_routes(parts),
        _data_routes(parts.answers, questions),
        export_routes(parts.exports, parts.answers.require_store, questions),
        catalog_routes(parts.catalog),
        event_routes(parts.changes),
        budget_routes(parts.budgets, parts.answers.require_store, questions),
    ):
        app.include_router(router, dependencies=[Depends(given_once)])
    app.include_router(_metrics_route(parts.metrics))
    app.include_router(page_routes())
    openapi.install(app, by_token=parts.token is not None)
    # Wraps FastAPI as a whole, because its answer to an unexpected error bypasses every middleware.
    return HeadAsGet(SecurityHeaders(app))


def _health_routes(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["health"])

    # Async, so that health never waits for a thread that is busy with a slow query.
    @router.get("/health", response_model=FullHealthAnswer, responses={503: {"model": FullHealthAnswer}})
    async def health(_: Annotated[NoParameters, Query()]) -> JSONResponse:
        """The state of every part, with reasons; 503 while the processor does not do its work."""
        return _by_status(parts.health())

    @router.get("/health/live", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
    async def live(_: Annotated[NoParameters, Query()]) -> JSONResponse:
        """503 when only a restart of the processor would help."""
        return _by_status(parts.live())

    @router.get("/health/ready", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}})
    async def ready(_: Annotated[NoParameters, Query()]) -> JSONResponse:
        """503 while the processor does not do its work."""
        return _by_status(parts.ready())

    return router


def _by_status(answer: HealthAnswer) -> JSONResponse:
    return JSONResponse(answer.model_dump(mode="json"), 200 if answer.status == "ok" else 503)


async def _deadline() -> AsyncIterator[None]:
    """Sets the time limit of one answer's queries. Async, so that the route's thread inherits it."""
    with pymongo.timeout(ANSWER_SECONDS):
        yield


def _data_routes(answers: Answers, questions: Questions) -> APIRouter:
    needs_store = Depends(store_answers(answers.require_store))
    router = APIRouter(tags=["data"], dependencies=[needs_store, Depends(_deadline)])

    # Not async: each request runs in its own thread while MongoDB answers, which it does at once.
    @router.get("/gpu/info")
    def gpu_info(query: Annotated[GpuParameters, Query()]) -> GpuInfoAnswer:
        """The latest metric of each GPU, those that report first; an empty list if there is none yet."""
        return answers.gpus(query.host, query.name, query.limit, query.cursor)

    @router.get("/usage", response_model=UsageAnswer)
    async def usage(query: Annotated[UsageParameters, Query()]) -> Response:
        """Token totals by model, of everything stored or of a range of event time; by group if asked for."""
        return await questions.ask(
            ("usage", *query.model_dump().values()),
            lambda: _exactly(
                answers.usage(
                    _asked(query), _selection(query), _perhaps_shown(query), query.limit, query.cursor
                )
            ),
        )

    @router.get("/cost", response_model=CostAnswer)
    async def cost(query: Annotated[LedgerParameters, Query()]) -> Response:
        """What tokens cost, and whose they are, over the latest window or a range."""
        return await questions.ask(
            ("cost", *query.model_dump().values()),
            lambda: _exactly(
                answers.cost(_asked(query), _selection(query)._replace(model=None), _shown(query))
            ),
        )

    @router.get("/throughput", response_model=ThroughputAnswer)
    async def throughput(query: Annotated[LedgerParameters, Query()]) -> Response:
        """Events and tokens a second: over the window that ends with the latest event, or over any range."""
        return await questions.ask(
            ("throughput", *query.model_dump().values()),
            lambda: _exactly(answers.throughput(_asked(query), _selection(query), _perhaps_shown(query))),
        )

    @router.get("/dead-letters")
    async def dead_letters(_: Annotated[NoParameters, Query()]) -> DeadLettersAnswer:
        """Refused events by topic and reason, as all processors have noted them."""
        return await questions.ask("dead-letters", answers.dead_letters)

    return router


def _metrics_route(metrics: Metrics) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    # Async, so that metrics never wait for a thread that is busy with a slow query.
    @router.get("/metrics")
    async def latest() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _asked(query: RangeParameters) -> Asked:
    return Asked(query.start, query.end)


def _selection(query: LedgerParameters) -> Selection:
    return Selection(query.host, query.gpu_index, query.model)


def _shown(query: LedgerParameters) -> Shown:
    return Shown(query.step, parse_group_by(query.group_by), query.basis or "covered", query.where)


def _perhaps_shown(query: LedgerParameters) -> Shown | None:
    """None: only what costs the store little."""
    return _shown(query) if query.asks_for_groups else None


def _exactly(answer: Answer) -> Response:
    """The answer as JSON, with every digit of its numbers."""
    return Response(encode_answer(answer), media_type="application/json")
