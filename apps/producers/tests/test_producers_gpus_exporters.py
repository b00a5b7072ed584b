"""Readings from GPU exporters: both generations of DCGM's, nvidia-smi's, MIG, and anything hostile."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gpu_token_contracts import GpuMetric, bounds, decode_gpu_metric, encode, gpu_identity
from gpu_token_producers.sources.exposition import Sample, parse
from gpu_token_producers.sources.gpus import dcgm, nvidia_gpu_exporter
from gpu_token_producers.sources.gpus.dcgm import dcgm_readings
from gpu_token_producers.sources.gpus.nvidia_gpu_exporter import card_uuid, exporter_readings
from gpu_token_producers.sources.labels import Labels
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parent / "data" / "gpus"
TARGET = "http://10.0.0.5:9400/metrics"
AT = datetime(2026, 3, 2, 10, 0, 0, 123000, tzinfo=UTC)
A = "GPU-11111111-aaaa-4bbb-8ccc-000000000001"
B = "GPU-22222222-aaaa-4bbb-8ccc-000000000002"
NONE = Labels()
NAME = "NVIDIA H100 80GB HBM3"


def dcgm_of(name: str, labels: Labels = NONE, deployments: dict[str, str] | None = None) -> list[GpuMetric]:
    samples = parse((DATA / name).read_text(), dcgm.WANTED)
    return sound(dcgm_readings(samples, TARGET, AT, labels, deployments or {}))


def exporter_of(name: str, labels: Labels = NONE) -> list[GpuMetric]:
    samples = parse((DATA / name).read_text(), nvidia_gpu_exporter.WANTED)
    return sound(exporter_readings(samples, TARGET, AT, labels))


def sound(readings: list[GpuMetric]) -> list[GpuMetric]:
    """The readings; each is one that the processor takes."""
    assert [decode_gpu_metric(encode(reading)) for reading in readings] == readings
    assert len({gpu_identity(reading) for reading in readings}) == len(readings)
    assert len({reading.event_id for reading in readings}) == len(readings)
    return readings


def sample(name: str, value: float = 1, **labels: str) -> Sample:
    return Sample(name, labels, value)


def one(samples: Sequence[Sample], labels: Labels = NONE) -> GpuMetric:
    (reading,) = sound(dcgm_readings(samples, TARGET, AT, labels))
    return reading


@pytest.mark.parametrize("name", ["dcgm-4.5.metrics", "dcgm-4.9.metrics"])
def test_both_generations_of_dcgm_say_the_same(name: str) -> None:
    busy, idle = dcgm_of(name)
    assert (busy.ts, busy.uuid, busy.gpu_index, busy.name, busy.host) == (AT, A, 0, NAME, "gpu-a")
    assert (busy.utilization, busy.mem_used_mb, busy.mem_total_mb, busy.power_w) == (
        0.57,
        72000,
        81559,
        412.307,
    )
    assert (idle.uuid, idle.gpu_index) == (B, 1)
    assert (idle.utilization, idle.mem_used_mb, idle.mem_total_mb, idle.power_w) == (0, 0, 81559, 68.119)
    assert busy.gpu_instance is None


def test_the_two_exporters_know_the_same_gpus() -> None:
    by_dcgm, by_smi = dcgm_of("dcgm-4.9.metrics"), exporter_of("nvidia_gpu_exporter.metrics")
    for one_, other in zip(by_dcgm, by_smi, strict=True):
        assert (other.uuid, other.gpu_index, other.name) == (one_.uuid, one_.gpu_index, one_.name)
        assert (other.utilization, other.mem_used_mb, other.mem_total_mb) == (
            one_.utilization,
            one_.mem_used_mb,
            one_.mem_total_mb,
        )
        assert other.power_w == pytest.approx(one_.power_w, abs=0.01)
    # This exporter says no host: it is the address.
    assert {reading.host for reading in by_smi} == {"10.0.0.5"}


def test_slices_are_gpus_of_their_own_and_their_card_is_none() -> None:
    first, second, other = dcgm_of("dcgm-mig.metrics")
    assert (first.uuid, first.gpu_instance) == (f"MIG-{A}:1", "3g.40gb")
    assert (second.uuid, second.gpu_instance) == (f"MIG-{A}:13", "1g.10gb")
    assert (other.uuid, other.gpu_instance, other.power_w) == (B, None, 68.1)
    # Not the 0 that is reported as utilization, nor the whole card's power.
    assert (first.utilization, second.utilization) == (0.91, 0)
    assert first.power_w is None
    assert (first.mem_used_mb, first.mem_total_mb) == (32000, 40000)
    # A pod's name is no host.
    assert {reading.host for reading in (first, second, other)} == {"10.0.0.5"}


def test_slices_have_one_identity_in_both_exporters() -> None:
    by_dcgm, by_smi = dcgm_of("dcgm-mig.metrics")[:2], exporter_of("nvidia_gpu_exporter-mig.metrics")
    # Two compute instances are in one GPU instance, which costs once.
    assert [reading.uuid for reading in by_smi] == [f"MIG-{A}:2", f"MIG-{A}:13"]
    assert [reading.gpu_instance for reading in by_smi] == ["3g.40gb", "1g.10gb"]
    assert by_smi[1].uuid == by_dcgm[1].uuid
    assert by_smi[0].utilization == 0.91
    assert {(reading.name, reading.power_w) for reading in by_smi} == {(NAME, None)}


def test_a_price_from_the_settings_is_divided_among_slices() -> None:
    first, second, other = dcgm_of("dcgm-mig.metrics", Labels(price_per_hour_usd=7))
    assert (first.price_per_hour_usd, second.price_per_hour_usd, other.price_per_hour_usd) == (3, 1, 7)


def test_a_gpu_is_stamped_with_its_deployment() -> None:
    readings = dcgm_of("dcgm-mig.metrics", Labels(deployment="rest"), {f"MIG-{A}:13": "small", A: "chat"})
    assert [reading.deployment for reading in readings] == ["chat", "small", "rest"]


def test_presence_is_enough() -> None:
    reading = one([sample("DCGM_FI_DEV_XID_ERRORS", 0, UUID=A)])
    assert (reading.uuid, reading.utilization, reading.mem_total_mb, reading.power_w) == (A, None, None, None)
    place = one([sample("DCGM_FI_DEV_SM_CLOCK", gpu="3")])
    assert (place.uuid, place.gpu_index) == (None, 3)
    assert dcgm_readings([sample("DCGM_FI_DEV_SM_CLOCK", modelName=NAME)], TARGET, AT, Labels()) == []
    assert dcgm_readings([sample("DCGM_FI_DEV_CPU_UTIL_TOTAL", cpu="0")], TARGET, AT, Labels()) == []


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ({"DCGM_FI_DEV_GPU_UTIL": 100.0}, 1),
        ({"DCGM_FI_DEV_GPU_UTIL": 101.0}, 1),
        ({"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 1.02}, 1),
        ({"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.4, "DCGM_FI_DEV_GPU_UTIL": 90.0}, 0.9),
        ({"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.4, "DCGM_FI_DEV_GPU_UTIL": math.nan}, 0.4),
        ({"DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.4, "DCGM_FI_DEV_GPU_UTIL": 9223372036854775794.0}, 0.4),
        ({"DCGM_FI_DEV_GPU_UTIL": 2147483632.0}, None),
        ({"DCGM_FI_DEV_GPU_UTIL": -1.0}, None),
        ({"DCGM_FI_DEV_GPU_UTIL_RATIO": math.inf}, None),
        ({"DCGM_FI_DEV_GPU_UTIL_RATIO": 0.5}, 0.5),
    ],
)
def test_utilization(samples: dict[str, float], expected: float | None) -> None:
    reading = one([sample(name, value, UUID=A) for name, value in samples.items()])
    assert reading.utilization == expected


@pytest.mark.parametrize(
    ("used", "free", "reserved", "total", "expected"),
    [
        (100, 200, 50, None, (100, 350)),
        (100, 200, None, None, (100, 300)),
        (100, None, 50, None, (100, None)),
        (None, 200, 50, None, (None, None)),
        (100, 200, 50, 400, (100, 400)),
        (500, None, None, 400, (None, 400)),
        (9223372036854775794, 200, 50, 400, (None, 400)),
        (-1, 200, 50, 400, (None, 400)),
    ],
)
def test_memory(
    used: float | None,
    free: float | None,
    reserved: float | None,
    total: float | None,
    expected: tuple[float | None, float | None],
) -> None:
    values = {"USED": used, "FREE": free, "RESERVED": reserved, "TOTAL": total}
    reading = one(
        [
            sample("DCGM_FI_DEV_SM_CLOCK", UUID=A),
            *(
                sample(f"DCGM_FI_DEV_FB_{name}", value, UUID=A)
                for name, value in values.items()
                if value is not None
            ),
        ]
    )
    assert (reading.mem_used_mb, reading.mem_total_mb) == expected


@pytest.mark.parametrize("value", [100_001, -1, math.nan, 9223372036854775794])
def test_power_that_cannot_be_is_left_out(value: float) -> None:
    assert one([sample("DCGM_FI_DEV_POWER_USAGE", value, UUID=A)]).power_w is None


@pytest.mark.parametrize(
    ("labels", "settings", "expected"),
    [
        ({"Hostname": "gpu-a"}, Labels(), "gpu-a"),
        ({"hostname": "gpu-a"}, Labels(), "gpu-a"),
        ({"hostname": "gpu-a"}, Labels(host="mine"), "mine"),
        ({"Hostname": "8e21d3ebf589"}, Labels(), "10.0.0.5"),
        ({"Hostname": "0123456789abcdef" * 4}, Labels(), "10.0.0.5"),
        ({"hostname": "dcgm-exporter-wwwjh"}, Labels(), "10.0.0.5"),
        ({"hostname": "dcgm-exporter-wwwjh", "instance": "gpu-b:9400"}, Labels(), "gpu-b"),
        # Prometheus has a label of this name itself, and keeps the exporter's as exported_….
        ({"hostname": "gpu-c", "exported_hostname": "8e21d3ebf589"}, Labels(), "gpu-c"),
        ({}, Labels(), "10.0.0.5"),
    ],
)
def test_host(labels: dict[str, str], settings: Labels, expected: str) -> None:
    assert one([Sample("DCGM_FI_DEV_SM_CLOCK", {"UUID": A, **labels}, 1)], settings).host == expected


def test_sharers_of_a_gpu_are_one_gpu() -> None:
    reading = one(
        [
            sample("DCGM_FI_DEV_GPU_UTIL", 50, UUID=A, pod=pod, container="chat")
            for pod in ("chat-0", "chat-1")
        ]
    )
    assert reading.utilization == 0.5


def test_same_reading_same_id_and_another_for_all_else() -> None:
    def ids(text: str = "dcgm-4.5.metrics", labels: Labels = NONE, target: str = TARGET) -> set[str | None]:
        samples = parse((DATA / text).read_text(), dcgm.WANTED)
        return {reading.event_id for reading in dcgm_readings(samples, target, AT, labels)}

    assert ids() == ids()
    for other in (
        ids("dcgm-4.9.metrics", Labels(host="b")),
        ids(labels=Labels(host="b")),
        ids(target="http://x/"),
    ):
        assert not ids() & other


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("df6e7a7c-7314-46f8-abc4-b88b36dcf3aa", "GPU-df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"),
        ("GPU-DF6E7A7C-7314-46f8-abc4-b88b36dcf3aa", "GPU-df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"),
        ("", None),
        ("GPU-", None),
    ],
)
def test_the_uuid_that_the_exporter_cuts(reported: str, expected: str | None) -> None:
    assert card_uuid(reported) == expected


def test_counters_that_outlive_a_failed_look_prove_no_gpu() -> None:
    samples = [sample("nvidia_smi_xid_errors_total", 1, uuid=A, xid="79")]
    assert exporter_readings(samples, TARGET, AT, Labels()) == []


NAMES = sorted(dcgm.WANTED | nvidia_gpu_exporter.WANTED | {"DCGM_EXP_XID_ERRORS_COUNT"})
LABELS = [
    *(
        "UUID",
        "uuid",
        "gpu",
        "gpu_uuid",
        "exported_gpu",
        "modelName",
        "name",
        "index",
        "Hostname",
        "hostname",
    ),
    *("GPU_I_ID", "GPU_I_PROFILE", "gpu_instance_id", "profile", "instance"),
]
VALUES = st.one_of(st.floats(), st.sampled_from([0.0, 0.5, 100.0, 2.0**31 - 16, 2.0**47, 2.0**63, -0.0]))
SMALL = st.sampled_from(["", A, B, "0", "1", "1:2", "3g.40gb", "gpu-a", "x" * 300])
SAMPLES = st.lists(
    st.builds(
        Sample,
        st.sampled_from(NAMES),
        st.dictionaries(st.sampled_from(LABELS), st.one_of(SMALL, st.text(max_size=300)), max_size=6),
        VALUES,
    ),
    max_size=12,
)


@given(
    SAMPLES, st.text(max_size=30), st.sampled_from([Labels(), Labels(host="h", price_per_hour_usd=100_000)])
)
def test_whatever_is_scraped_every_event_is_accepted(
    samples: list[Sample], target: str, labels: Labels
) -> None:
    for read in (dcgm_readings, exporter_readings):
        readings = read(samples, target, AT, labels)
        for reading in readings:
            assert decode_gpu_metric(encode(reading)) == reading
            assert len(encode(reading)) <= bounds.MAX_EVENT_BYTES
