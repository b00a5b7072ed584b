"""Bounds of every field. Generous: they stop nonsense, not unusual hardware."""

from datetime import UTC, datetime

# 64 KiB: an event is about 250 bytes; the rest is room for fields that later producers add.
MAX_EVENT_BYTES = 65_536

MAX_TEXT_LENGTH = 256
MAX_GPU_INDEX = 1_023
# 16 TiB, in MiB.
MAX_MEMORY_MIB = 16_777_216
MAX_POWER_W = 100_000
MAX_PRICE_PER_HOUR_USD = 100_000
# Of one event, which may cover an interval: 31 days at 3.7 million tokens a second. Also of its requests.
MAX_TOKENS = 10**13
# One day, in milliseconds.
MAX_LATENCY_MS = 86_400_000
# 31 days.
MAX_INTERVAL_SECONDS = 2_678_400
# GPUs that one usage event names.
MAX_GPUS = 1_024
MAX_TAGS = 32

# Nesting of fields that this version does not know; MongoDB itself stops at 100.
MAX_EXTRA_DEPTH = 16
# What BSON can hold.
MIN_EXTRA_INT = -(2**63)
MAX_EXTRA_INT = 2**63 - 1

# Event time accepted when the reader states no bounds of its own.
EARLIEST_TS = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_TS = datetime(2100, 1, 1, tzinfo=UTC)
# Ahead of the reader's clock, if it is not set otherwise.
MAX_AHEAD_SECONDS = 600
