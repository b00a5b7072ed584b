"""The intake's answers: problem details for HTTP, Status messages for OTLP."""

from http import HTTPStatus
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from starlette.requests import Request
from starlette.responses import Response

from gpu_token_producers.intake.refusal import Refusal
from gpu_token_producers.intake.source import PATHS

PROBLEM = "application/problem+json"
JSON = "application/json"
PROTOBUF = "application/x-protobuf"
# google.rpc.Code, by HTTP status; all else is UNKNOWN.
_CODES = {400: 3, 401: 16, 404: 5, 408: 4, 413: 8, 415: 3, 502: 13, 503: 14}
_UNKNOWN = 2


def media_type(request: Request) -> str:
    """The content type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def success(content: Any) -> Response:
    """200 with JSON."""
    return Response(msgspec.json.encode(content), media_type=JSON)


def refusal(request: Request, refused: Refusal) -> Response:
    """The answer to a refused request, in the words of what it speaks."""
    headers = dict(refused.headers)
    if not refused.body_read:
        headers["Connection"] = "close"
    if request.url.path.startswith(PATHS["otlp"]) and media_type(request) in (JSON, PROTOBUF):
        status = Status(code=_CODES.get(refused.status, _UNKNOWN), message=refused.detail)
        return message(request, status, refused.status, headers)
    problem = {
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        **refused.members,
    }
    return Response(msgspec.json.encode(problem), refused.status, headers, PROBLEM)


def message(
    request: Request, content: Message, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A protobuf message, as JSON for a request in JSON."""
    if media_type(request) == JSON:
        return Response(MessageToJson(content, indent=None), status, headers, JSON)
    return Response(content.SerializeToString(), status, headers, PROTOBUF)
