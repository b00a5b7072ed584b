"""Reports numbered calls to an intake as LiteLLM does, again and again until each is confirmed.

Prints `event N` for each that is. SIGTERM ends it in order: no more calls, and all confirmed. The
number is the count of the prompt's tokens.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import threading
import time
from pathlib import Path

from lab.workload.gateway import Gateway, record

FLUSH_SECONDS = 0.25
TEAMS = ("search", "support", "research")


def report(gateway: Gateway, ended: threading.Event) -> None:
    """Send until the end, and until nothing waits any more."""
    while not ended.wait(FLUSH_SECONDS) or gateway.waiting:
        for confirmed in gateway.flush():
            print("event", confirmed["prompt_tokens"], flush=True)


def main() -> None:
    """Make calls until a stop is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--intake", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    stop, ended = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    token = options.token_file.read_text().strip()
    gateway = Gateway(lambda: (options.intake, token))
    reporter = threading.Thread(target=report, args=(gateway, ended))
    reporter.start()
    draw = random.Random(options.seed)
    for number in itertools.count(1):
        if stop.wait(draw.expovariate(options.per_second)):
            break
        gateway.add(
            record(
                model="drill",
                team=draw.choice(TEAMS),
                api_base="http://drill",
                prompt=number,
                cached=number // 2,
                completion=draw.randint(20, 400),
                ended=time.time(),
                seconds=draw.uniform(0.1, 2),
            )
        )
    ended.set()
    reporter.join()


if __name__ == "__main__":
    main()
