"""The OpenAPI document: FastAPI's, with problem details instead of FastAPI's errors, and with examples."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gpu_token_processor.api.access import OPEN_PATHS
from gpu_token_processor.api.examples import EXAMPLES
from gpu_token_processor.api.models import Problem
from gpu_token_processor.api.problems import MEDIA_TYPE


def install(app: FastAPI, *, by_token: bool) -> None:
    """Let the application serve this document, made when it is first asked for: no start waits for it."""

    @cache
    def document() -> dict[str, Any]:
        made = _document(app)
        if by_token:
            _declare_token(made)
        return made

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
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
    # Not through the models: FastAPI would leave out what is null.
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    return document


def _declare_token(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path in OPEN_PATHS & document["paths"].keys():
        for operation in document["paths"][path].values():
            operation["security"] = []
