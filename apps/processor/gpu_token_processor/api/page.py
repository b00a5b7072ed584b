"""The page: files that are the same for everybody, and hold no data."""

import gzip
import hashlib
from collections.abc import Iterator
from importlib.abc import Traversable
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

# Below it all lies that the page is made of; the page itself is at the root.
PAGE_PATH = "/page/"
_ROOT = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
# Its own files and answers, and nothing written into its HTML; the browser refuses to make HTML of text.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _File(NamedTuple):
    body: bytes
    packed: bytes
    media_type: str
    # Of the content and not of its time: a file of another version may have the same time and length.
    etag: str


def page_routes() -> APIRouter:
    """Routes of the page and its files, which are read once."""
    found = dict(_files(files("gpu_token_processor").joinpath("page"), ""))
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(request: Request) -> Response:
        return _answer(request, found[_ROOT])

    @router.get(PAGE_PATH + "{name:path}")
    async def file(name: str, request: Request) -> Response:
        if name not in found:
            raise HTTPException(404)
        return _answer(request, found[name])

    return router


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, _File]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files(one, f"{prefix}{one.name}/")
            continue
        body = one.read_bytes()
        suffix = one.name[one.name.rindex(".") :] if "." in one.name else ""
        # Weak, since it stands for the packed file too.
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        yield f"{prefix}{one.name}", _File(body, gzip.compress(body, mtime=0), _MEDIA_TYPES[suffix], etag)


def _answer(request: Request, file: _File) -> Response:
    headers = {
        # Kept, and asked for again each time: after an upgrade no old file meets a new one.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
    }
    if file.etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(file.packed, headers=headers, media_type=file.media_type)
    return Response(file.body, headers=headers, media_type=file.media_type)
