"""Every error as application/problem+json, without a word of what is inside."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from gpu_token_processor.api.models import Problem, ProblemError
from gpu_token_processor.store.failures import brief

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer errors as problems, and say so in the OpenAPI document."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(PyMongoError, _store)
    app.add_exception_handler(Exception, _unexpected)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        problem.model_dump_json(), problem.status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    return _response(Problem(title=title, status=error.status_code, detail=str(error.detail)), error.headers)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        ProblemError(parameter=str(one["loc"][-1]), message=one["msg"].removeprefix("Value error, "))
        for one in error.errors()
    ]
    detail = "; ".join(f"{one.parameter}: {one.message}" for one in errors)
    return _response(
        Problem(title="A parameter is not acceptable", status=422, detail=f"{detail}.", errors=errors)
    )


def _store(request: Request, error: Exception) -> Response:
    log.warning("%s not answered: %s", request.url.path, brief(error))
    return _response(
        Problem(
            title="The store does not answer",
            status=503,
            detail="MongoDB did not answer in time; see /health, and try again.",
        ),
        {"Retry-After": "5"},
    )


def _unexpected(_: Request, error: Exception) -> Response:
    # The server logs it with its trace.
    return _response(
        Problem(
            title="Internal Server Error",
            status=500,
            detail="The answer failed; the log of the processor says why.",
        )
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with problems in the place of its own error shape."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = {
                    "description": "Problem details",
                    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
        app.openapi_schema = document
    return app.openapi_schema
