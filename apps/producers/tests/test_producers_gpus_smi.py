"""nvidia-smi: its CSV in every shape, recorded logs with their zone, and the program when it fails."""

import gzip
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import zstandard
from gpu_token_contracts import GpuMetric, decode_gpu_metric, encode
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.sources.gpus.nvidia_smi import smi_readings
from gpu_token_producers.sources.gpus.nvidia_smi_command import COLUMNS, NoDriver, query
from gpu_token_producers.sources.gpus.nvidia_smi_log import log_lines, log_readings, utc
from gpu_token_producers.sources.labels import Labels
from gpu_token_producers.traces.rows import BrokenRow
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parent / "data" / "gpus"
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
A = "GPU-11111111-aaaa-4bbb-8ccc-000000000001"
BERLIN = ZoneInfo("Europe/Berlin")
HOST = Labels(host="gpu-a")


def read(text: str, columns: list[str] | None = None) -> list[GpuMetric | BrokenRow]:
    return smi_readings(text, "nvidia-smi", AT, HOST, columns=columns)


def only(text: str, columns: list[str] | None = None) -> GpuMetric:
    (found,) = read(text, columns)
    return sound(found)


def sound(found: GpuMetric | BrokenRow) -> GpuMetric:
    assert isinstance(found, GpuMetric), found
    assert decode_gpu_metric(encode(found)) == found
    return found


def log(
    text: str, zone: ZoneInfo | None = BERLIN, columns: list[str] | None = None
) -> list[GpuMetric | BrokenRow]:
    return list(log_readings(text.splitlines(), zone, HOST, "gpu.log", columns=columns))


def test_the_table_of_the_live_query() -> None:
    busy, idle = map(sound, read((DATA / "smi.csv").read_text()))
    assert (busy.uuid, busy.gpu_index, busy.name, busy.host) == (A, 0, "NVIDIA H100 80GB HBM3", "gpu-a")
    assert (busy.utilization, busy.mem_used_mb, busy.mem_total_mb, busy.power_w) == (
        0.57,
        72000,
        81559,
        412.31,
    )
    assert (idle.utilization, idle.mem_used_mb, idle.power_w) == (None, 55, None)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (
            f"power.draw [W], uuid, utilization.gpu [%], memory.used [MiB]\n400.00 W, {A}, 50 %, 10 MiB\n",
            None,
        ),
        # nounits: the header has them still.
        (f"uuid, power.draw [W], memory.used [MiB], utilization.gpu [%]\n{A}, 400.00, 10, 50\n", None),
        (f"{A}, 50, 10, 400.00\n", ["uuid", "utilization.gpu", "memory.used", "power.draw"]),
        (f"{A},50 %,10 MiB,400.00 W", ["uuid", "utilization.gpu", "memory.used", "power.draw"]),
        (f"gpu_uuid, utilization.gpu, memory.used, power.draw.instant\n{A}, 50, 10, 400", None),
        # The first of those that measure the same.
        (
            f"uuid, power.draw.average [W], power.draw.instant [W], power.draw [W], memory.used [MiB], "
            f"utilization.gpu [%]\n{A}, 399 W, 410 W, 400 W, 10 MiB, 50 %",
            None,
        ),
        # Unknown columns, some renamed between drivers.
        (
            f"clocks_throttle_reasons.active, clocks_event_reasons.active, uuid, utilization.gpu [%], "
            f"memory.used [MB], power.draw [W]\r\n0x0000000000000001, 0x1, {A}, 50 %, 10 MB, 400 W\r\n",
            None,
        ),
        # Power is only one of the two that newer drivers offer.
        (
            f"uuid, power.draw [W], power.draw.average [W], utilization.gpu [%], memory.used [MiB]\n"
            f"{A}, [N/A], 400 W, 50 %, 10 MiB",
            None,
        ),
    ],
)
def test_columns_in_any_order_with_and_without_units(text: str, columns: list[str] | None) -> None:
    reading = only(text, columns)
    assert (reading.uuid, reading.utilization, reading.mem_used_mb, reading.power_w) == (A, 0.5, 10, 400)


@pytest.mark.parametrize(
    "word",
    [
        *("[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[Insufficient Permissions]", "ERR!"),
        *(
            "[GPU requires reset]",
            "[GPU is lost]",
            "[Requested functionality has been deprecated]",
            "",
            "Unknown",
        ),
    ],
)
def test_words_for_none(word: str) -> None:
    reading = only(
        "uuid, name, utilization.gpu [%], memory.used [MiB], power.draw [W]\n"
        f"{A}, {word}, {word}, {word}, {word}\n"
    )
    assert (reading.utilization, reading.mem_used_mb, reading.power_w) == (None, None, None)
    assert reading.name in (None, "Unknown")


def test_without_uuid_a_gpu_is_known_by_its_place() -> None:
    reading = only("index, name, utilization.gpu [%]\n3, Tesla T4, 5 %\n")
    assert (reading.uuid, reading.gpu_index, reading.host, reading.name) == (None, 3, "gpu-a", "Tesla T4")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{A}, 50 %", "It has 2 columns instead of 3."),
        (f"{A[:-4]}, 50 %, 10 MiB", "uuid is 'GPU-11111111"),
        ("[Unknown Error], 50 %, 10 MiB", "uuid is '[Unknown Error]'"),
        (f"{A}, 50 bananas, 10 MiB", "utilization.gpu is '50 bananas', not a number."),
        (f"{A}, 5O %, 10 MiB", "utilization.gpu is '5O %'"),
        ("Unable to determine the device handle for GPU0: 0000:8D:00.0: GPU is lost.", "1 columns"),
        ("\0\0\0", "columns"),
    ],
)
def test_a_broken_row_is_named_and_the_others_are_read(line: str, said: str) -> None:
    good = f"{A}, 50 %, 10 MiB"
    first, broken, last = read(f"uuid, utilization.gpu [%], memory.used [MiB]\n{good}\n{line}\n\n{good}")
    assert isinstance(broken, BrokenRow)
    assert (broken.line, said in broken.reason) == (3, True)
    assert sound(first) == sound(last)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        (f"{A}, 50 %", None, "has no header"),
        ("utilization.gpu [%], memory.used [MiB]\n1 %, 2 MiB", None, "Add uuid to --query-gpu"),
        (f"{A}, 50", ["a", "b"], "none of them is known"),
        ("No devices were found", None, "No devices were found"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(text: str, columns: list[str] | None, said: str) -> None:
    with pytest.raises(ProducerError, match=said):
        read(text, columns)


def test_a_log_in_local_time_over_the_end_of_summer() -> None:
    found = log((DATA / "smi-log.csv").read_text())
    readings = [sound(row) for row in found if isinstance(row, GpuMetric)]
    broken = [row for row in found if isinstance(row, BrokenRow)]
    assert [reading.ts for reading in readings[::2]] == [
        datetime(2024, 10, 26, 23, 59, 57, 123000, tzinfo=UTC),
        datetime(2024, 10, 26, 23, 59, 58, 123000, tzinfo=UTC),
        datetime(2024, 10, 26, 23, 59, 59, 123000, tzinfo=UTC),
        datetime(2024, 10, 27, 2, 0, 0, 123000, tzinfo=UTC),
    ]
    assert [row.line for row in broken] == [8, 9]
    assert "Europe/Berlin show twice" in broken[0].reason
    assert len({reading.event_id for reading in readings}) == len(readings) == 7
    assert log((DATA / "smi-log.csv").read_text()) == found


def test_the_same_log_in_utc_loses_nothing() -> None:
    assert all(isinstance(row, GpuMetric) for row in log((DATA / "smi-log.csv").read_text(), ZoneInfo("UTC")))


@pytest.mark.parametrize(
    ("local", "said"),
    [
        ("2024/03/31 02:30:00.000", "which no clock in Europe/Berlin shows"),
        ("2024/10/27 02:30:00.000", "twice"),
    ],
)
def test_hours_that_are_double_or_missing(local: str, said: str) -> None:
    (broken,) = log(f"timestamp, uuid\n{local}, {A}\n")
    assert isinstance(broken, BrokenRow)
    assert said in broken.reason


@pytest.mark.parametrize(
    "local", ["2024-10-27 02:30:00", "2024/13/01 00:00:00.000", "0001/01/01 00:00:00.000", ""]
)
def test_what_is_no_time(local: str) -> None:
    (broken,) = log(f"timestamp, uuid\n{local}, {A}\n")
    assert isinstance(broken, BrokenRow)
    assert "timestamp is" in broken.reason


def test_a_log_without_zone_or_times_is_refused() -> None:
    with pytest.raises(ProducerError, match=r"gpu\.log has local times"):
        log((DATA / "smi-log.csv").read_text(), None)
    with pytest.raises(ProducerError, match="no column timestamp"):
        log(f"uuid, name\n{A}, Tesla T4\n")


def test_a_log_to_which_a_second_run_has_appended() -> None:
    first, broken, second = log(
        f"timestamp, uuid, utilization.gpu [%]\n2024/06/01 12:00:00.000, {A}, 50 %\n2024/06/01 12:0\n"
        f"timestamp, index, uuid, memory.used [MiB]\n2024/06/01 13:00:00.500, 0, {A}, 10 MiB\n"
    )
    assert isinstance(broken, BrokenRow)
    assert (sound(first).utilization, sound(first).ts.hour) == (0.5, 10)
    assert (sound(second).mem_used_mb, sound(second).gpu_index) == (10, 0)


def test_a_log_without_header_has_its_columns_told() -> None:
    (found,) = log(f"2024/06/01 12:00:00, {A}, 50", columns=["timestamp", "uuid", "utilization.gpu"])
    assert sound(found).utilization == 0.5


@pytest.mark.parametrize(
    "packed",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: gzip.compress(text.encode()),
        lambda text: zstandard.compress(text.encode()),
        lambda text: gzip.compress(text.encode("utf-16")),
    ],
    ids=["bom", "utf-16", "utf-16-be", "gzip", "zstd", "gzip utf-16"],
)
def test_a_log_however_it_was_stored(tmp_path: Path, packed: Callable[[str], bytes]) -> None:
    text = (DATA / "smi-log.csv").read_text()
    (tmp_path / "log").write_bytes(packed(text))
    assert list(log_readings(log_lines(tmp_path / "log"), BERLIN, HOST, "gpu.log")) == log(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"timestamp, uuid\n" * 1000, mtime=0)[:-9], "is damaged: "),
        (b"\0\x1b[31m\n", "has no header: its first line is '\\x00\\x1b[31m'. Name its columns: --columns "),
        (b"name\0\n, utilization.gpu", "has no header"),
        (b"\x1b[31m, utilization.gpu", "does not name its GPUs"),
        (None, "cannot be read: No such file"),
    ],
    ids=["damaged", "control characters", "zero bytes", "no GPU", "absent"],
)
def test_a_log_of_no_use_is_one_printable_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProducerError) as caught:
        list(log_readings(log_lines(path), BERLIN, HOST, str(path)))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_log_in_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "log.tgz", "w:gz") as archive:
        archive.add(DATA / "smi-log.csv", arcname="log.csv")
    with pytest.raises(ProducerError, match=r"log.tgz is a tar archive: unpack it"):
        list(log_lines(tmp_path / "log.tgz"))


def test_a_log_is_read_row_by_row() -> None:
    def endless() -> object:
        yield "timestamp, uuid"
        while True:
            yield f"2024/06/01 12:00:00.000, {A}"

    found = log_readings(endless(), BERLIN, HOST, "gpu.log")  # type: ignore[arg-type]
    assert sound(next(found)).uuid == A


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))
def test_each_moment_is_found_again_or_refused(local: datetime) -> None:
    try:
        at = utc(local, BERLIN)
    except ValueError:
        assert local.month in (3, 10)
        assert local.hour == 2
    else:
        assert at.astimezone(BERLIN).replace(tzinfo=None) == local


CELLS = st.one_of(
    st.sampled_from([A, "50 %", "[N/A]", "10 MiB", "-5 W", "1e9", "uuid", '"']), st.text(max_size=30)
)


@given(st.lists(st.lists(CELLS, max_size=5).map(", ".join), max_size=6))
def test_whatever_is_printed_every_event_is_accepted(lines: list[str]) -> None:
    try:
        found = read(
            "\n".join(["index, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]", *lines])
        )
    except ProducerError:
        return
    for row in found:
        if isinstance(row, GpuMetric):
            sound(row)


Script = Callable[[str], list[str]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A command that stands in for nvidia-smi: no GPU is at hand."""

    def write(body: str) -> list[str]:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return [str(path)]

    return write


def test_the_program_is_asked_for_what_is_read(script: Script) -> None:
    command = script(f'[ "$*" = "--query-gpu={",".join(COLUMNS)} --format=csv" ] && cat {DATA / "smi.csv"}')
    assert len(read(query(command))) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9',
            r"no NVIDIA driver that answers: .*nvidia-smi ended with status 9: NVIDIA-SMI has failed",
        ),
        ("echo No devices were found; exit 6", "status 6: No devices were found"),
        ("exit 255", "it printed nothing"),
        ("kill -KILL $$", "status -9"),
    ],
)
def test_a_program_that_fails_is_one_sentence(script: Script, body: str, said: str) -> None:
    with pytest.raises(NoDriver, match=said) as refused:
        query(script(body))
    assert "\n" not in str(refused.value)


def test_no_program_is_one_sentence() -> None:
    with pytest.raises(NoDriver, match="This machine has no NVIDIA driver: no-such-program cannot be run"):
        query(["no-such-program"])


def test_a_program_that_hangs_is_ended(script: Script) -> None:
    began = time.monotonic()
    with pytest.raises(NoDriver, match=r"silent for 0\.2 seconds"):
        query(script("exec sleep 60"), timeout_seconds=0.2)
    assert timedelta(seconds=time.monotonic() - began) < timedelta(seconds=5)
