"""Finds the token counts of generative AI in an OTLP metrics request.

Read are the semantic conventions for GenAI clients: the histogram `gen_ai.client.token.usage`, whose sum is
tokens and whose count is requests, and the newer metrics `gen_ai.client.inference.usage.*`, one for each
class of tokens.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gpu_token_contracts import format_ts, moment
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
)

from gpu_token_producers.ids import digest
from gpu_token_producers.intake.ahead import check_not_ahead

Class = Literal["input", "output", "cache_read", "reasoning"]
Attributes = dict[str, str]
_DataPoint = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint

_OLD = "gen_ai.client.token.usage"
_NEW = "gen_ai.client.inference.usage."
_TOKEN_TYPE = "gen_ai.token.type"
_OLD_CLASSES: dict[str, Class] = {
    "input": "input",
    "prompt": "input",
    "output": "output",
    "completion": "output",
}
_NEW_CLASSES: dict[str, Class] = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read.input_tokens": "cache_read",
    "reasoning.output_tokens": "reasoning",
}
# 2 to the power of 53: up to here a float holds every whole number.
_MAX_COUNT = 2**53
# Of the kinds of values that an attribute can have.
_SINGLE = ("string_value", "bool_value", "int_value", "double_value")
_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


class Point(NamedTuple):
    """One count. Times are nanoseconds since 1970; a start of 0 is not known.

    `series` names the counter whatever its start; `group` names what it counts, with the other classes of
    tokens of the same requests. `requests` is None where the metric does not count them.
    """

    series: str
    group: str
    of: Class
    attributes: Attributes
    cumulative: bool
    start_ns: int
    time_ns: int
    tokens: int
    requests: int | None


@dataclass(slots=True)
class Found:
    """`refused` has a sentence for each count that could not be read."""

    points: list[Point] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)


class _RefusedPoint(ValueError):
    pass


def find_points(request: ExportMetricsServiceRequest) -> Found:
    """All token counts of a request. Other metrics are ignored: exporters send all that they have."""
    found = Found()
    for resource in request.resource_metrics:
        _of_resource(resource, found)
    return found


def _of_resource(resource: ResourceMetrics, found: Found) -> None:
    of_resource = _texts(resource.resource.attributes)
    # Both count the same tokens, and the newer ones tell more.
    names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
    has_new = any(name.startswith(_NEW) for name in names)
    for scope in resource.scope_metrics:
        where = digest(sorted(of_resource.items()), scope.scope.name)
        for metric in scope.metrics:
            if metric.name == _OLD and has_new:
                found.ignored["counted_twice"] += 1
            elif metric.name == _OLD or metric.name.removeprefix(_NEW) in _NEW_CLASSES:
                _of_metric(metric, where, of_resource, found)
            else:
                found.ignored["other_metric"] += 1


def _of_metric(metric: Metric, where: str, of_resource: Attributes, found: Found) -> None:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    if kind not in ("sum", "histogram", "exponential_histogram") or (kind == "sum" and not data.is_monotonic):
        found.refused.append(f"{metric.name} is no histogram and no counter.")
        return
    if data.aggregation_temporality not in (_CUMULATIVE, _DELTA):
        found.refused.append(f"{metric.name} does not say whether it is cumulative or delta.")
        return
    cumulative = data.aggregation_temporality == _CUMULATIVE
    for point in data.data_points:
        if point.flags & _NO_VALUE:
            found.ignored["no_value"] += 1
            continue
        try:
            found.points.append(_point(metric.name, point, where, of_resource, cumulative))
        except ValueError as error:
            found.refused.append(f"{metric.name}: {error}")


def _point(name: str, point: _DataPoint, where: str, of_resource: Attributes, cumulative: bool) -> Point:
    own = _texts(point.attributes)
    token_type = own.pop(_TOKEN_TYPE, "")
    if name == _OLD:
        family, of = _OLD, _OLD_CLASSES.get(token_type)
        if of is None:
            raise _RefusedPoint(f"{_TOKEN_TYPE} is not input or output.")
    else:
        family, of = _NEW, _NEW_CLASSES[name.removeprefix(_NEW)]
    group = digest(where, family, sorted(own.items()))
    tokens, requests = _value(point)
    if point.time_unix_nano == 0:
        raise _RefusedPoint("a count has no time.")
    # Refused before a counter's value is noted: what it has counted comes with its next value.
    check_not_ahead(point.time_unix_nano / 1e9, _shown(point.time_unix_nano))
    start_ns = min(point.start_time_unix_nano, point.time_unix_nano)
    series = f"{group}:{of}"
    return Point(
        series,
        group,
        of,
        {**of_resource, **own},
        cumulative,
        start_ns,
        point.time_unix_nano,
        tokens,
        requests,
    )


def _shown(time_ns: int) -> str:
    try:
        return format_ts(moment(time_ns // 1000))
    except OverflowError:
        return "one that no calendar has"


def _value(point: _DataPoint) -> tuple[int, int | None]:
    """Tokens, and requests where the point counts them."""
    if not isinstance(point, NumberDataPoint):
        if not point.HasField("sum"):
            raise _RefusedPoint("a histogram has no sum.")
        return _whole(point.sum), _whole(point.count)
    return _whole(getattr(point, point.WhichOneof("value") or "as_int")), None


def _whole(value: float) -> int:
    if not math.isfinite(value) or not 0 <= value <= _MAX_COUNT or value != int(value):
        raise _RefusedPoint("a count is no whole number from 0 to 2^53.")
    return int(value)


def _texts(attributes: Iterable[KeyValue]) -> Attributes:
    """Attributes that are one value, as text."""
    return dict(_text(attribute) for attribute in attributes)


def _text(attribute: KeyValue) -> tuple[str, str]:
    value: AnyValue = attribute.value
    kind = value.WhichOneof("value")
    if kind is None:
        return attribute.key, ""
    return attribute.key, str(getattr(value, kind)) if kind in _SINGLE else ""
