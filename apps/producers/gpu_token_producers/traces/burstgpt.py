"""BurstGPT, as CSV: the requests of two models. Public: github.com/HPMLL/BurstGPT.

Times are seconds from the first day's midnight; which day, the file does not tell. The third file also has
the session, of conversations only, and the seconds from request to answer, between the other columns.
"""

import csv
from collections.abc import Sequence
from datetime import datetime

from gpu_token_producers.traces.format import Format, Parse
from gpu_token_producers.traces.rows import TraceRow, after, label, latency_ms, shown, tokens

TIMESTAMP, MODEL, REQUEST, RESPONSE = "Timestamp", "Model", "Request tokens", "Response tokens"
TOTAL, LOG_TYPE, SESSION, ELAPSED = "Total tokens", "Log Type", "Session ID", "Elapsed time"
HEADER = (TIMESTAMP, MODEL, REQUEST, RESPONSE, TOTAL, LOG_TYPE)
LATER_HEADER = (TIMESTAMP, SESSION, ELAPSED, MODEL, REQUEST, RESPONSE, TOTAL, LOG_TYPE)
# More seconds than the contract has time.
_MAX_DIGITS = 20


def burstgpt(header: Sequence[str]) -> Format:
    """The format, of a file with these columns: those of HEADER or of LATER_HEADER in any order."""

    def parser(start: datetime) -> Parse:
        def parse(row: int, body: bytes) -> TraceRow:
            cells = _cells(body)
            if len(cells) != len(header):
                raise ValueError(f"It has {len(cells)} columns instead of {len(header)}.")
            request = dict(zip(header, cells, strict=True))
            completion = tokens(RESPONSE, request[RESPONSE])
            if completion == 0:
                raise ValueError(f"{RESPONSE} is 0: the request failed.")
            session, elapsed = request.get(SESSION), request.get(ELAPSED)
            return TraceRow(
                row,
                after(start, TIMESTAMP, _seconds(TIMESTAMP, request[TIMESTAMP]), request[TIMESTAMP]),
                tokens(REQUEST, request[REQUEST]),
                completion,
                latency_ms=latency_ms(ELAPSED, _seconds(ELAPSED, elapsed) * 1000, elapsed)
                if elapsed
                else None,
                model=label(MODEL, request[MODEL]),
                session=label(SESSION, session) if session else None,
                workload=label(LOG_TYPE, request[LOG_TYPE]),
            )

        return parse

    return Format(
        name="BurstGPT",
        shape=f"CSV {','.join(HEADER)}, perhaps with {SESSION} and {ELAPSED}",
        parser=parser,
        has_header=True,
        is_relative=True,
        has_models=True,
    )


def _cells(body: bytes) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([body.decode()], strict=True))]
    except UnicodeDecodeError as error:
        raise ValueError(f"It is not UTF-8: byte {error.start} is 0x{body[error.start]:02x}.") from None
    except csv.Error as error:
        raise ValueError(f"It is not CSV: {error}.") from None


def _seconds(name: str, cell: str) -> float:
    # float() would also accept signs, exponents, nan and the digits of other scripts.
    if len(cell) > _MAX_DIGITS or not (cell.isascii() and cell.replace(".", "", 1).isdigit()):
        raise ValueError(f"{name} is {shown(cell)}, not a number of seconds.")
    return float(cell)
