"""Rows come in order of time whatever the file's order, and none is lost."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpu_token_producers.traces import order
from gpu_token_producers.traces.order import TimeOrder
from gpu_token_producers.traces.rows import BrokenRow, TraceRow
from gpu_token_producers.traces.trace import Trace, open_trace
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2023, 11, 16, 18)
# A row at so many seconds, a broken row, or an empty line.
LINE = st.integers(0, 9) | st.sampled_from(["broken", ""])


def write(path: Path, lines: list[int | str], end: str = "\n") -> Trace:
    texts = [
        f"{START + timedelta(seconds=line)},{at},1" if isinstance(line, int) else line
        for at, line in enumerate(lines)
    ]
    path.write_text(end.join(["TIMESTAMP,ContextTokens,GeneratedTokens", *texts]), newline="")
    return open_trace(path)


@pytest.mark.parametrize("run_rows", [1, 2, 100_000])
@given(lines=st.lists(LINE, max_size=12), end=st.sampled_from(["\n", "\r\n"]))
def test_the_order_is_that_of_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory, run_rows: int, lines: list[int | str], end: str
) -> None:
    trace = write(tmp_path_factory.mktemp("order") / "trace.csv", lines, end)
    read = list(trace.rows())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_RUN_ROWS", run_rows)
        by_time = TimeOrder(trace)
        assert list(by_time.find()) == [row for row in read if isinstance(row, BrokenRow)]
    sound = [row for row in read if isinstance(row, TraceRow)]
    for _ in range(2):
        assert list(by_time.rows()) == sorted(sound, key=lambda row: row.ts)


def test_a_file_in_order_is_not_kept_in_memory(tmp_path: Path) -> None:
    by_time = TimeOrder(write(tmp_path / "trace.csv", [1, 1, 2, "broken", 5]))
    assert len(list(by_time.find())) == 1
    assert by_time._runs == []
