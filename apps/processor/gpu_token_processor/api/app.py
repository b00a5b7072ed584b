"""The HTTP application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Annotated

import pymongo
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp

from gpu_token_processor import VERSION
from gpu_token_processor.api import openapi, problems
from gpu_token_processor.api.access import Access
from gpu_token_processor.api.answers import Answers, Asked, Shown
from gpu_token_processor.api.cache import Cache
from gpu_token_processor.api.catalog import catalog_routes
from gpu_token_processor.api.headers import SecurityHeaders, page_policy
from gpu_token_processor.api.limits import Limits
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
from gpu_token_processor.api.parameters import (
    GpuParameters,
    LedgerParameters,
    NoParameters,
    RangeParameters,
    UsageParameters,
)
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.catalog import Catalog
from gpu_token_processor.ledger.question import parse_group_by
from gpu_token_processor.metrics import Metrics
from gpu_token_processor.selection import Selection

# Long enough to serve many dashboards, short enough to count as current.
_CACHE_SECONDS = 1.0
# MongoDB is given the same limit, so that it cancels queries that nobody waits for any more.
_ANSWER_SECONDS = 30.0
# A store that does not answer is noticed sooner than that.
_STORE_SECONDS = 3.0

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of."""

    answers: Answers
    metrics: Metrics
    live: Callable[[], HealthAnswer]
    ready: Callable[[], HealthAnswer]
    health: Callable[[], FullHealthAnswer]
    # None: no token is needed.
    token: str | None
    requests_per_second: float
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
    app.add_middleware(Limits, requests_per_second=parts.requests_per_second)
    app.add_middleware(Measure, seconds=parts.metrics.http_requests)
    app.include_router(_health_routes(parts))
    app.include_router(_data_routes(parts.answers))
    app.include_router(catalog_routes(parts.catalog))
    app.include_router(_page_routes(parts))
    openapi.install(app, by_token=parts.token is not None)
    # Wraps FastAPI as a whole, because its answer to an unexpected error bypasses every middleware.
    return SecurityHeaders(app)


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
    with pymongo.timeout(_ANSWER_SECONDS):
        yield


def _data_routes(answers: Answers) -> APIRouter:
    def store_answers() -> None:
        # Its own deadline: with the answer's, the driver would look for a server for that long.
        with pymongo.timeout(_STORE_SECONDS):
            answers.require_store()

    router = APIRouter(tags=["data"], dependencies=[Depends(store_answers), Depends(_deadline)])
    cache = Cache(_CACHE_SECONDS)

    # Not async: each request runs in its own thread while MongoDB answers.
    @router.get("/gpu/info")
    def gpu_info(query: Annotated[GpuParameters, Query()]) -> GpuInfoAnswer:
        """The latest metric of each GPU; an empty list if there is none yet."""
        return answers.gpus(query.host, query.name, query.limit, query.cursor)

    @router.get("/usage", response_model=UsageAnswer)
    def usage(query: Annotated[UsageParameters, Query()]) -> Response:
        """Token totals by model, of everything stored or of a range of event time; by group if asked for."""
        return cache.get(
            ("usage", *query.model_dump().values()),
            lambda: _exactly(
                answers.usage(
                    _asked(query), _selection(query), _perhaps_shown(query), query.limit, query.cursor
                )
            ),
        )

    @router.get("/cost", response_model=CostAnswer)
    def cost(query: Annotated[LedgerParameters, Query()]) -> Response:
        """What tokens cost, and whose they are, over the latest window or a range."""
        return cache.get(
            ("cost", *query.model_dump().values()),
            lambda: _exactly(
                answers.cost(_asked(query), _selection(query)._replace(model=None), _shown(query))
            ),
        )

    @router.get("/throughput", response_model=ThroughputAnswer)
    def throughput(query: Annotated[LedgerParameters, Query()]) -> Response:
        """Events and tokens a second: over the window that ends with the latest event, or over any range."""
        return cache.get(
            ("throughput", *query.model_dump().values()),
            lambda: _exactly(answers.throughput(_asked(query), _selection(query), _perhaps_shown(query))),
        )

    @router.get("/dead-letters")
    def dead_letters(_: Annotated[NoParameters, Query()]) -> DeadLettersAnswer:
        """Refused events by topic and reason, as all processors have noted them."""
        return cache.get("dead-letters", answers.dead_letters)

    return router


def _page_routes(parts: Parts) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    dashboard_html = files("gpu_token_processor.api").joinpath("dashboard.html").read_text(encoding="utf-8")
    page_headers = {"Content-Security-Policy": page_policy(dashboard_html)}

    @router.get("/")
    async def dashboard() -> HTMLResponse:
        return HTMLResponse(dashboard_html, headers=page_headers)

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)

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
