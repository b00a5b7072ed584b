"""Every error as application/problem+json, without internal details."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from gpu_token_processor.api.models import Problem, ProblemError
from gpu_token_processor.api.questions import TooManyQuestionsError
from gpu_token_processor.ledger.question import TooManyStepsError
from gpu_token_processor.store.failures import brief

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer errors as problems."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(TooManyStepsError, _too_many_steps)
    app.add_exception_handler(TooManyQuestionsError, _too_many_questions)
    app.add_exception_handler(PyMongoError, _store)
    app.add_exception_handler(Exception, _unexpected)


def response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP response for a problem."""
    return Response(
        problem.model_dump_json(), problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def client(scope: Scope) -> str:
    """The client's address."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers or {})
    if "Allow" in headers:
        # Every path is read, and HEAD is answered apart from the routes (head.py).
        headers["Allow"] = "GET, HEAD"
    return response(Problem(title=title, status=error.status_code, detail=str(error.detail)), headers)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        ProblemError(parameter=str(one["loc"][-1]), message=one["msg"].removeprefix("Value error, "))
        for one in error.errors()
    ]
    return _not_acceptable(errors)


def _too_many_steps(_: Request, error: Exception) -> Response:
    # Found once the range is known, which stored events may bound.
    return _not_acceptable([ProblemError(parameter="step", message=str(error))])


def _too_many_questions(_: Request, error: Exception) -> Response:
    detail = "Other questions to the store are being answered: ask again in a moment."
    problem = Problem(title="Too many questions at once", status=503, detail=detail)
    return response(problem, {"Retry-After": "5"})


def _not_acceptable(errors: list[ProblemError]) -> Response:
    detail = "; ".join(f"{one.parameter}: {one.message}" for one in errors)
    return response(
        Problem(title="A parameter is not acceptable", status=422, detail=f"{detail}.", errors=errors)
    )


def _store(request: Request, error: Exception) -> Response:
    assert isinstance(error, PyMongoError)
    log.warning("%s not answered: %s", request.url.path, brief(error))
    if error.timeout and not isinstance(error, ServerSelectionTimeoutError):
        title = "The answer takes too long"
        detail = "MongoDB did not finish in time; ask for a shorter range, or see /health, and try again."
    else:
        title = "The store does not answer"
        detail = "MongoDB did not answer in time; see /health, and try again."
    return response(Problem(title=title, status=503, detail=detail), {"Retry-After": "5"})


def _unexpected(_: Request, error: Exception) -> Response:
    # The server logs it with its trace.
    return response(
        Problem(
            title="Internal Server Error",
            status=500,
            detail="The answer failed; the log of the processor says why.",
        )
    )
