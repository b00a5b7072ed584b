"""The benchmarks' own arithmetic and data set; what they measure is measured by `make bench`."""

import json
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpu_token_contracts import decode_gpu_metric, decode_token_usage

from bench.day import GPUS, REQUESTS_PER_SECOND, write_day
from bench.errors import BenchError
from bench.events import events, traces
from bench.ingest import Load
from bench.over_a_day import GpuHour, measure, require_equal, said_by_duckdb, said_by_us
from bench.results import Sample, compare, compare_runs, percentile, rate, write


def test_a_ratio_is_of_medians_and_its_spread_of_the_runs() -> None:
    result = compare("cpu", "s", ours=[5, 4, 6, 5, 5], reference=[10, 10, 10, 10, 100])
    assert (result.ours, result.reference, result.ratio, result.runs) == (5, 10, 0.5, 5)
    # Single ratios lie between 0.05 and 0.6.
    assert result.spread == pytest.approx((0.6 - 0.05) / 0.5)


def test_runs_are_compared_in_one_field() -> None:
    ours, reference = [SimpleNamespace(cpu=2, memory=9)], [SimpleNamespace(cpu=8, memory=9)]
    assert compare_runs("cpu", "s", "cpu", ours, reference).ratio == 0.25


def test_runs_belong_to_each_other() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare("cpu", "s", ours=[1, 2], reference=[1])


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_a_rate_is_of_the_looks_between_the_first_event_and_the_last() -> None:
    # Within the first second and the last the work was begun and done, when is not known.
    counts = {9.0: 0, 10.0: 100, 11.0: 1_100, 13.0: 3_100, 14.0: 3_200}
    samples = [Sample(moment, stored) for moment, stored in counts.items()]
    assert rate(samples) == 1_000


def test_a_rate_needs_two_looks() -> None:
    with pytest.raises(BenchError, match="take more events"):
        rate([Sample(1.0, 0), Sample(2.0, 100), Sample(3.0, 500)])


def test_results_of_other_benchmarks_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    write(path, [compare("a", "s", [1], [2]), compare("b", "s", [1], [2])])
    write(path, [compare("b", "s", [1], [4])])
    assert [(entry["name"], entry["ratio"]) for entry in json.loads(path.read_text())] == [
        ("a", 0.5),
        ("b", 0.25),
    ]
    assert set(json.loads(path.read_text())[0]) == {
        "name",
        "ours",
        "reference",
        "ratio",
        "unit",
        "runs",
        "spread",
    }


def test_no_two_events_are_equal_however_often_the_traces_are_repeated(tmp_path: Path) -> None:
    made = list(islice(events(traces(tmp_path)), 70_000))
    assert len({event.event_id for event in made}) == len(made)
    assert all(json.loads(event.value)["event_id"] == event.event_id for event in made)
    assert {event.is_metric for event in made} == {True, False}


def test_a_part_of_a_load_is_its_beginning(tmp_path: Path) -> None:
    made = list(islice(events(traces(tmp_path)), 15))
    assert Load(made[:5], made[5:]).part(0.2) == Load(made[:1], made[5:7])


def test_a_day_is_in_order_of_time_and_the_same_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    day, again = (write_day(folder, hours=0.1) for folder in folders)
    assert day.readings.read_bytes() == again.readings.read_bytes()
    assert day.usage.read_bytes() == again.usage.read_bytes()
    readings = [decode_gpu_metric(line) for line in day.readings.read_bytes().splitlines()]
    usage = [decode_token_usage(line) for line in day.usage.read_bytes().splitlines()]
    assert day.events == len(readings) + len(usage)
    for sent in (readings, usage):
        times = [event.ts for event in sent]
        assert times == sorted(times)
        assert day.start <= times[0]
        assert times[-1] < day.end
    assert len({reading.uuid for reading in readings}) == GPUS
    assert len(usage) == 360 * REQUESTS_PER_SECOND
    # The GPUs are silent one after the other.
    assert len(readings) < 360 * GPUS


def test_a_gpu_s_hour_is_read_from_both_answers() -> None:
    hour = 492_336
    row = {
        "key": {"gpu": "GPU-a"},
        "start": "2026-03-02T00:00:00Z",
        "cost_usd": 0.999982,
        "tokens": {"total": 12},
    }
    theirs = {"covered_us": [["GPU-a", hour, 999_982_000]], "tokens": [["GPU-a", hour, 12]]}
    ours, expected = said_by_us(json.dumps({"rows": [row]})), said_by_duckdb(json.dumps(theirs))
    assert ours == expected == {("GPU-a", hour): GpuHour(999_982_000, 12)}
    require_equal(ours, expected)


def test_another_count_is_named() -> None:
    ours = {("GPU-a", 1): GpuHour(5, 7)}
    with pytest.raises(BenchError, match=r"GPU-a in hour 1: .*covered_us=5, tokens=7.*tokens=8"):
        require_equal(ours, {("GPU-a", 1): GpuHour(5, 8)})
    with pytest.raises(BenchError, match="DuckDB None"):
        require_equal(ours, {})


def test_the_memory_of_a_command_is_that_of_all_its_processes(tmp_path: Path) -> None:
    hold = "import time; held = b'x' * 50_000_000; time.sleep(0.5); print(len(held))"
    both = f"import subprocess, sys; {hold}; subprocess.run([sys.executable, '-c', {hold!r}])"
    one, two = (measure([sys.executable, "-c", code], tmp_path) for code in (hold, both))
    assert one.output == "50000000\n"
    assert one.seconds > 0.5
    assert two.peak_mib > one.peak_mib + 40


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="status 1: no luck"):
        measure([sys.executable, "-c", "import sys; sys.exit('no luck')"], tmp_path)
