"""`python -m lab.workload ADDRESS`: serves until it is stopped; lab/workload/process.py starts it."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from fleet.model import load
from lab import ec2_server, settings
from lab.workload import plan
from lab.workload.engine import Engine
from lab.workload.exporter import Exporter
from lab.workload.gateway import Gateway, record

_REQUESTS_PER_SECOND = 4.0
_FLUSH_SECONDS = 1.0


def main(address: str) -> None:
    """Serve invented requests of three teams, and report them."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engines = [Engine(engine) for engine in plan.ENGINES]
    exporter = Exporter()
    gateway = Gateway(_find_intake)
    for engine in engines:
        engine.listen(address)
        exporter.show(engine.plan.gpus, 0.0)
    exporter.listen(address)
    threading.Thread(target=_flush, args=(gateway, stop), daemon=True).start()
    draw = random.Random(1)
    shown = time.monotonic()
    while not stop.wait(draw.expovariate(_REQUESTS_PER_SECOND)):
        engine = draw.choices(engines, weights=(2, 1))[0]
        prompt = draw.randint(200, 4000)
        cached = prompt // 16 * 16 * draw.choice((0, 0, 1, 2)) // 4
        completion = draw.randint(20, 400)
        seconds = engine.serve(prompt, cached, completion)
        gateway.add(
            record(
                model=engine.plan.model,
                team=draw.choices(plan.TEAMS, weights=(5, 3, 2))[0],
                api_base=f"http://{address}:{engine.plan.port}",
                prompt=prompt,
                cached=cached,
                completion=completion,
                ended=time.time(),
                seconds=seconds,
            )
        )
        if (passed := time.monotonic() - shown) >= 1:
            shown += passed
            for engine in engines:
                exporter.show(engine.plan.gpus, min(1.0, engine.take_busy_seconds() / passed))


def _flush(gateway: Gateway, stop: threading.Event) -> None:
    while not stop.wait(_FLUSH_SECONDS):
        gateway.flush()


def _find_intake() -> tuple[str, str] | None:
    """The intake of the first producers machine, and the token that site.yml has made."""
    fleet = load(settings.fleet_file(os.environ))
    chosen = settings.from_environment(os.environ, fleet)
    try:
        reservations = ec2_server.client(chosen).describe_instances(
            Filters=[
                {"Name": "tag:Name", "Values": ["producers-1"]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
        )["Reservations"]
        parameters = boto3.client(
            "ssm",
            endpoint_url=chosen.ec2_url,
            region_name=ec2_server.REGION,
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )
        name = f"/{fleet.project}/{chosen.name}/intake_token"
        token = parameters.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        machine = reservations[0]["Instances"][0]["PrivateIpAddress"]
    except (BotoCoreError, ClientError, IndexError, KeyError):
        return None
    return f"http://{machine}:{fleet.roles['producers'].ports['intake']}/v1/litellm", token


if __name__ == "__main__":
    main(sys.argv[1])
