"""The latest reading of each GPU, page by page: those that report first, whatever their names."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from gpu_token_processor.api.models import GpuInfo, GpuInfoAnswer, plain
from gpu_token_processor.documents import Document
from gpu_token_processor.ledger.book import Book, Seen
from gpu_token_processor.ledger.coverage import EVENT_PRICE
from gpu_token_processor.ledger.exact import stored_us

_LIVE = "live"
# Of a cursor: `live` or the milliseconds since 1970 of the last reading, and the GPU's id.
CURSOR_PATTERN = f"^({_LIVE}|[0-9]{{1,15}}) "


class Place(NamedTuple):
    """Where a GPU stands in the list.

    Those that report come first, by id, so that none moves while pages are read; then those that are silent,
    the last seen first.
    """

    # In milliseconds since 1970; None for one that reports.
    silent_since_ms: int | None
    gpu_id: str

    @property
    def order(self) -> tuple[bool, int, str]:
        """What to sort by."""
        return self.silent_since_ms is not None, -(self.silent_since_ms or 0), self.gpu_id

    def cursor(self) -> str:
        """The place as text."""
        since = _LIVE if self.silent_since_ms is None else str(self.silent_since_ms)
        return f"{since} {self.gpu_id}"

    @classmethod
    def of_cursor(cls, cursor: str) -> "Place":
        """The place that text of CURSOR_PATTERN names."""
        since, _, gpu_id = cursor.partition(" ")
        return cls(None if since == _LIVE else int(since), gpu_id)


def list_gpus(
    readings: Sequence[Document],
    now: datetime | None,
    gap_seconds: float,
    book: Book,
    limit: int,
    cursor: str | None,
) -> GpuInfoAnswer:
    """The first `limit` GPUs behind the cursor. `now`: the time of the latest event."""
    found = [_gpu_info(document, now, gap_seconds, book) for document in readings]
    placed = sorted(((_place(info), info) for info in found), key=lambda one: one[0].order)
    after = None if cursor is None else Place.of_cursor(cursor).order
    rest = [(place, info) for place, info in placed if after is None or place.order > after]
    return GpuInfoAnswer(
        latest=max(sorted(found, key=lambda info: info.gpu_id), key=lambda info: info.ts, default=None),
        items=[info for _, info in rest[:limit]],
        next_cursor=rest[limit - 1][0].cursor() if len(rest) > limit else None,
    )


def _place(info: GpuInfo) -> Place:
    silent_since_ms = None if info.reporting else round(info.ts.timestamp() * 1000)
    return Place(silent_since_ms, info.gpu_id)


def _gpu_info(document: Document, now: datetime | None, gap_seconds: float, book: Book) -> GpuInfo:
    fields = {name: plain(value) for name, value in document.items() if name not in ("_id", "reporting")}
    age_seconds = (now - document["ts"]).total_seconds() if now else 0.0
    return GpuInfo.model_validate(
        {
            **fields,
            **_price(document, book),
            "gpu_id": document["_id"],
            "reporting": age_seconds <= gap_seconds,
        }
    )


def _price(document: Document, book: Book) -> dict[str, object]:
    """What an hour costs at the time of the reading, as /cost has it."""
    own = document.get("price_per_hour_usd")
    if own is not None:
        return {"price_source": EVENT_PRICE}
    piece = book.piece(stored_us(document["ts"]))
    seen = book.identify(Seen(*(document.get(name) for name in Seen._fields)), piece)
    terms = book.terms(seen, piece)
    return {"price_per_hour_usd": float(terms.usd_per_hour), "price_source": terms.source}
