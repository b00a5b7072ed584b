"""The processor without the marks of hours that events have come to: what the marks cost is the difference.

Usage: python -m bench.unmarked, with the processor's settings in the environment
"""

import sys

from gpu_token_processor.__main__ import main
from gpu_token_processor.pipeline.batch import Batch
from gpu_token_processor.pipeline.writer import Writer


def _touches_nothing(self: Writer, batch: Batch) -> set[int]:
    return set()


if __name__ == "__main__":
    Writer._touched = _touches_nothing  # type: ignore[method-assign]
    sys.exit(main())
