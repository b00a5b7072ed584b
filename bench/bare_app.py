"""`python -m bench.bare_app PORT`: reads a body of JSON and answers: the least that an intake does."""

import json
import sys

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

app = FastAPI()


async def take(request: Request) -> Response:
    """Parse the body, and answer."""
    json.loads(await request.body())
    return JSONResponse({"accepted": 1})


async def health(_: Request) -> Response:
    """That it listens."""
    return JSONResponse({"status": "ok"})


app.add_route("/v1/litellm", take, methods=["POST"])
app.add_route("/health", health, methods=["GET"])

if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), http="h11", log_level="warning", access_log=False
    )
