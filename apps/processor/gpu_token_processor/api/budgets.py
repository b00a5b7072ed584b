"""Budgets: what the running month has spent of each, and what it will have spent at its end."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated

import pymongo
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from gpu_token_contracts import moment
from pydantic import Field

from gpu_token_processor.api.deadlines import ANSWER_SECONDS, store_answers
from gpu_token_processor.api.models import Answer, Exact
from gpu_token_processor.api.parameters import NoParameters
from gpu_token_processor.api.questions import Questions
from gpu_token_processor.budgets.alerts import alert_id, selector_shown
from gpu_token_processor.budgets.budgets import Budgets, State
from gpu_token_processor.exports.months import Month
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.catalog import Dimension
from gpu_token_processor.ledger.exact import ratio, stored_us, usd

# See Alerts.crossed.
Crossed = Callable[[str], Mapping[str, datetime]]


class BudgetMonth(Answer):
    """A month of the calendar, in UTC."""

    start: datetime
    end: datetime
    counted_until: datetime = Field(
        description="the end of the last full hour: what is spent is known up to here"
    )


class Threshold(Answer):
    """A share of a budget at which somebody is told."""

    share: Exact
    crossed_at: datetime | None = Field(
        description="when it was first found to be crossed in this month; null: it has not been, so far"
    )


class BudgetAnswer(Answer):
    """One budget."""

    name: str
    selector: dict[Dimension, str] = Field(
        description='such as {"team": "search"}; empty: all that GPUs cost'
    )
    limit_usd: Exact
    spent_usd: Exact = Field(
        description="by leased time; idle time is in the cost of everything alone, since it is nobody's"
    )
    spent_share: Exact = Field(description="spent_usd / limit_usd")
    forecast_usd: Exact | None = Field(
        description="at the end of the month, at the mean rate of the last seven full days; "
        "null: no hour is over to go by"
    )
    state: State = Field(description="warning: a threshold is crossed; exceeded: the whole budget is spent")
    thresholds: list[Threshold]


class BudgetsAnswer(Answer):
    """Budgets of the running month."""

    month: BudgetMonth
    budgets: list[BudgetAnswer] = Field(description="those that hold now, by name")


def budgets_answer(budgets: Budgets, crossed: Crossed, now: datetime) -> BudgetsAnswer:
    """Of the month of `now`. Raises pymongo's errors when MongoDB does not answer."""
    month = Month.of(stored_us(now))
    found = budgets.of(month, stored_us(now))
    crossed_at = crossed(str(month)) if found.statuses else {}
    return BudgetsAnswer(
        month=BudgetMonth(
            start=moment(month.start_us), end=moment(month.end_us), counted_until=moment(found.upto_us)
        ),
        budgets=[
            BudgetAnswer(
                name=status.budget.name,
                selector=selector_shown(status.budget),
                limit_usd=usd(status.limit_pico),
                spent_usd=usd(status.spent_pico),
                spent_share=ratio(status.spent_share, 1),
                forecast_usd=None if status.forecast_pico is None else usd(status.forecast_pico),
                state=status.state,
                thresholds=[
                    Threshold(
                        share=ratio(share, 1),
                        crossed_at=crossed_at.get(alert_id(month, status.budget, share)),
                    )
                    for share in status.budget.thresholds
                ],
            )
            for status in found.statuses
        ],
    )


def budget_routes(
    answer: Callable[[], BudgetsAnswer], require_store: Callable[[], None], questions: Questions
) -> APIRouter:
    """Routes; both functions raise pymongo's errors when MongoDB does not answer."""

    router = APIRouter(tags=["budgets"], dependencies=[Depends(store_answers(require_store))])

    @router.get("/budgets", response_model=BudgetsAnswer)
    async def budgets(_: Annotated[NoParameters, Query()]) -> Response:
        """What the running month has spent of each budget, and what it will have spent at its end."""

        def work() -> Response:
            with pymongo.timeout(ANSWER_SECONDS):
                return Response(encode_answer(answer()), media_type="application/json")

        return await questions.ask("budgets", work)

    return router
