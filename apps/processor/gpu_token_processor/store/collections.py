"""Collections that the processor adds to those of the contract."""

# One document for each GPU: its latest reading, under the GPU's identity.
GPU_LATEST = "gpu_latest"
# One document for each dead letter: where it came from and why; the event itself is in the topic.
DEAD_LETTERS = "dead_letters"
# One document for each version of the catalogue, numbered from 1; the newest counts, none is ever changed.
CATALOG = "catalog"
