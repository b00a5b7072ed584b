"""Rows for finance, and measured rates. Exports are streamed, so that their length costs no memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, TypeVar

import pymongo
from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import Response, StreamingResponse

from gpu_token_processor.api.deadlines import store_answers
from gpu_token_processor.api.models import RatesAnswer
from gpu_token_processor.api.parameters import FocusParameters, GroupParameters, TimesParameters
from gpu_token_processor.api.questions import Questions, TooManyQuestionsError
from gpu_token_processor.exports.days import Shape
from gpu_token_processor.exports.exports import Exports, NoParquetError
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.question import parse_group_by

# Of one part.
_PART_SECONDS = 30.0
# One who has got a part already waits longer for the next than others do for an answer.
_TRIES = 12
_NO_PARQUET = (
    "This processor has no library for Parquet: set processor_parquet to true and run site.yml, "
    "or install gpu-token-processor[parquet]; cost.csv has the same rows."
)

Part = TypeVar("Part", str, bytes)


class Csv(StreamingResponse):
    """CSV in parts."""

    media_type = "text/csv"


class Parquet(StreamingResponse):
    """Parquet in parts."""

    media_type = "application/vnd.apache.parquet"


Kind = TypeVar("Kind", Csv, Parquet)


def export_routes(exports: Exports, require_store: Callable[[], None], questions: Questions) -> APIRouter:
    """Routes; `require_store` raises pymongo's errors when MongoDB does not answer."""

    router = APIRouter(tags=["exports"], dependencies=[Depends(store_answers(require_store))])

    @router.get("/export/cost.csv", response_class=Csv)
    async def cost(query: Annotated[GroupParameters, Query()]) -> Csv:
        """The rows of /cost by day, and idle time in rows of its own: cost_usd adds up to the total.

        Without start, from the beginning of the month. Without end, up to the last full hour.
        """
        shape = Shape(parse_group_by(query.group_by), query.basis or "covered", query.where)
        return await _streamed(questions, exports.cost(query.start, query.end, shape), Csv, "cost.csv")

    @router.get("/export/cost.parquet", response_class=Parquet)
    async def cost_parquet(query: Annotated[GroupParameters, Query()]) -> Parquet:
        """The rows of cost.csv as Parquet, with types. 501 where the processor has no library for it."""
        shape = Shape(parse_group_by(query.group_by), query.basis or "covered", query.where)
        try:
            parts = exports.cost_parquet(query.start, query.end, shape)
        except NoParquetError:
            raise HTTPException(501, _NO_PARQUET) from None
        return await _streamed(questions, parts, Parquet, "cost.parquet")

    @router.get("/export/focus.csv", response_class=Csv)
    async def focus(query: Annotated[FocusParameters, Query()]) -> Csv:
        """What a month costs in the columns of FOCUS 1.2: rows by day, model, team and class of tokens.

        A month that has been closed stays as it was; what changes of it comes as corrections in a later one.
        """
        return await _streamed(questions, exports.focus(query.month), Csv, "focus.csv")

    @router.get("/rates", response_model=RatesAnswer)
    async def rates(query: Annotated[TimesParameters, Query()]) -> Response:
        """What a token has cost by model, over the full hours of a range, or of the last seven days.

        In USD, under the names that LiteLLM has for prices; null: no token of the class was priced.
        """

        def work() -> Response:
            with pymongo.timeout(_PART_SECONDS):
                answer = exports.rates(query.start, query.end)
            return Response(encode_answer(answer), media_type="application/json")

        return await questions.ask(("rates", *query.model_dump().values()), work)

    return router


async def _streamed(questions: Questions, parts: Iterator[Part], kind: type[Kind], name: str) -> Kind:
    """The response once there is a first part: what fails before is answered as a problem.

    What fails later ends the connection before the end of the body, which HTTP tells apart from its end.
    """
    first = await questions.once(lambda: _part(parts))
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return kind(_stream(questions, first, parts), headers=headers)


async def _stream(questions: Questions, first: Part | None, parts: Iterator[Part]) -> AsyncIterator[Part]:
    part = first
    while part is not None:
        if part:
            yield part
        part = await _next(questions, parts)


async def _next(questions: Questions, parts: Iterator[Part]) -> Part | None:
    for _ in range(_TRIES - 1):
        try:
            return await questions.once(lambda: _part(parts))
        except TooManyQuestionsError:
            await asyncio.sleep(1)
    return await questions.once(lambda: _part(parts))


def _part(parts: Iterator[Part]) -> Part | None:
    with pymongo.timeout(_PART_SECONDS):
        return next(parts, None)
