"""Collections that the processor adds to those of the contract."""

# One document for each GPU: its latest reading, under the GPU's identity.
GPU_LATEST = "gpu_latest"
# One document for each dead letter: where it came from and why; the event itself is in the topic.
DEAD_LETTERS = "dead_letters"
# One document for each version of the catalogue, numbered from 1; the newest counts, none is ever changed.
CATALOG = "catalog"
# One document for each clock hour that has been counted, by the hours since 1970.
ROLLUP_HOURS = "rollup_hours"
# One document for each clock hour whose events have changed since, by the same number.
ROLLUP_MARKS = "rollup_marks"
# One document for each day as one catalogue shares it, by the days since 1970.
ROLLUP_DAYS = "rollup_days"
# One document for each number of days that events were kept for: until when.
RETENTION = "retention"
# One document for each month that is closed for finance, numbered from 0 without a gap.
FOCUS_CLOSINGS = "focus_closings"
# One document for each threshold of a budget that has been crossed in a month.
BUDGET_ALERTS = "budget_alerts"
# One document for each day that has charges in a closed month: the charges, as they will always be.
FOCUS_CHARGES = "focus_charges"
