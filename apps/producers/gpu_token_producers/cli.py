"""Command line of the producers."""

import inspect
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer
from gpu_token_contracts import TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE, Reason, format_ts
from gpu_token_contracts.bounds import MAX_TEXT_LENGTH
from gpu_token_contracts.login import SettingsError, kafka_security

from gpu_token_producers.discovery.command import discover
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.files import write_atomically
from gpu_token_producers.generator import pairs
from gpu_token_producers.gpus import BUILT_IN_SEED, load_gpus
from gpu_token_producers.heartbeat import HeartbeatWriter, heartbeat_path
from gpu_token_producers.replay import ReplayPlan, replay_events
from gpu_token_producers.report import Report
from gpu_token_producers.resend import Resend
from gpu_token_producers.run import KafkaSettings, Run
from gpu_token_producers.synthetic import synthetic_trace
from gpu_token_producers.traces.rows import utc
from gpu_token_producers.traces.trace import DEFAULT_START, open_trace

_REPORTS = Path("/reports")


def _fits(text: str | None) -> str | None:
    """Refuse what the contract would refuse in every single event."""
    if text is not None and not 1 <= len(text) <= MAX_TEXT_LENGTH:
        raise typer.BadParameter(f"it has {len(text)} characters: give 1 to {MAX_TEXT_LENGTH}")
    return text


def _teams(text: str | None) -> tuple[str, ...]:
    """The names of a list by commas. Raises BadParameter for one that the contract would refuse."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        try:
            _fits(name)
        except typer.BadParameter as error:
            raise typer.BadParameter(f"--team has {name!r}: {error.message}") from None
    return names


def _start(text: str | None) -> datetime | None:
    """Raises BadParameter for what is no time in UTC."""
    if text is None:
        return None
    try:
        return utc("--start", text)
    except ValueError as error:
        raise typer.BadParameter(f"{error} Give one such as 2026-03-01T00:00:00Z.") from None


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Send GPU metrics and token usage to Kafka.",
)
app.command()(discover)

Teams = Annotated[
    str | None,
    typer.Option(envvar="TEAMS", help="Teams whose the tokens are, by commas; they take turns."),
]
GpuSeedFile = Annotated[Path, typer.Option(envvar="GPU_SEED", help="JSON file of the GPUs.")]
Host = Annotated[str, typer.Option(envvar="PRODUCER_HOST", callback=_fits, help="Host that the events name.")]
RunName = Annotated[
    str | None, typer.Option(help="Name of the run in the report and, when generating, in event ids.")
]
RawRetentionDays = Annotated[
    int | None,
    typer.Option(
        min=1, envvar="RAW_RETENTION_DAYS", help="For how many days the store keeps events, if that is known."
    ),
]
ReportFile = Annotated[Path | None, typer.Option(help="Write the run's counts to this JSON file.")]


def _kafka_settings(
    *,
    bootstrap: Annotated[str, typer.Option(envvar="KAFKA_BOOTSTRAP", help="Kafka's address, host:port.")],
    username: Annotated[
        str | None, typer.Option(envvar="KAFKA_USERNAME", help="Kafka's user. Default: plain text, no login.")
    ] = None,
    password_file: Annotated[
        str | None, typer.Option(envvar="KAFKA_PASSWORD_FILE", help="File with the user's password.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(envvar="KAFKA_CA_FILE", help="PEM file of Kafka's certificate authority.")
    ] = None,
    topic_metric: Annotated[
        str, typer.Option(envvar="TOPIC_METRIC", help="Topic of GPU metrics.")
    ] = TOPIC_GPU_METRICS,
    topic_token: Annotated[
        str, typer.Option(envvar="TOPIC_TOKEN", help="Topic of token usage.")
    ] = TOPIC_TOKEN_USAGE,
    wait_seconds: Annotated[
        float,
        typer.Option(envvar="KAFKA_WAIT_SECONDS", min=0, help="Wait this long for Kafka and its topics."),
    ] = 60,
    finish_seconds: Annotated[
        float, typer.Option(min=0, help="Wait this long for the last deliveries when the work is done.")
    ] = 300,
    stop_seconds: Annotated[
        float, typer.Option(envvar="STOP_SECONDS", min=0, help="Wait this long for them after SIGTERM.")
    ] = 8,
) -> KafkaSettings:
    """What the options of Kafka say."""
    return KafkaSettings(
        bootstrap=bootstrap,
        security=kafka_security(username, password_file, ca_file),
        topic_metric=topic_metric,
        topic_token=topic_token,
        wait_seconds=wait_seconds,
        finish_seconds=finish_seconds,
        stop_seconds=stop_seconds,
    )


def _uses_kafka(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command Kafka's options after its own; it takes them as one argument, `kafka`."""
    own = inspect.signature(command).parameters
    options = inspect.signature(_kafka_settings).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        with _one_sentence():
            kafka = _kafka_settings(**{name: given.pop(name) for name in options})
            command(kafka=kafka, **given)

    # Typer reads the options from here.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*(own[name] for name in own if name != "kafka"), *options.values()]
    )
    return run


@app.command()
@_uses_kafka
def generate(
    *,
    kafka: KafkaSettings,
    pairs_per_second: Annotated[
        float | None,
        typer.Option(envvar="PAIRS_PER_SECOND", min=0, help="Rate; 0 idles. Default: 1 / SLEEP_SEC."),
    ] = None,
    sleep_seconds: Annotated[
        float, typer.Option(envvar="SLEEP_SEC", min=0.001, help="Time between pairs, if no rate is given.")
    ] = 0.5,
    count: Annotated[
        int | None, typer.Option(envvar="BATCH", min=1, help="Stop after this many pairs.")
    ] = None,
    duration_seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    seed: Annotated[int, typer.Option(envvar="SEED", help="The same seed draws the same values.")] = 1,
    model: Annotated[
        str, typer.Option(envvar="MODEL", callback=_fits, help="Model that usage names.")
    ] = "llama-3-70b",
    team: Teams = None,
    host: Host = "gpu-host-1",
    gpu_seed: GpuSeedFile = BUILT_IN_SEED,
    run: RunName = None,
    report: ReportFile = None,
) -> None:
    """Send seeded pairs of one GPU metric and one token usage, until stopped or a limit is reached."""
    rate = 1 / sleep_seconds if pairs_per_second is None else pairs_per_second
    if rate == 0 and count is not None:
        raise typer.BadParameter("a rate of 0 never reaches a count: give a rate or no count")
    name = run or f"generate-{uuid.uuid4().hex[:12]}"
    events = pairs(
        load_gpus(gpu_seed),
        seed=seed,
        run=name,
        host=host,
        model=model,
        teams=_teams(team),
        now=lambda: datetime.now(UTC),
    )
    heartbeat = HeartbeatWriter(heartbeat_path())
    with Run(kafka, _new_report(name, model), report, [heartbeat]) as sending:
        sending.generate(events, pairs_per_second=rate, count=count, duration_seconds=duration_seconds)


@app.command()
@_uses_kafka
def replay(
    *,
    kafka: KafkaSettings,
    trace: Annotated[Path, typer.Argument(help="File of a public trace: docs/traces.md.")],
    speed: Annotated[
        float, typer.Option(min=0, help="How many times faster than the trace; 0 is as fast as possible.")
    ] = 1,
    metrics_interval_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Event time between readings of each GPU.")
    ] = 5,
    repeat: Annotated[
        int, typer.Option(min=1, help="Replay this often, each time later and with other ids.")
    ] = 1,
    model: Annotated[
        str | None,
        typer.Option(
            callback=_fits, help="Model that usage names. Default: the row's, or else the file's name."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="When times that count from 0 begin, such as 2026-03-01T00:00:00Z. "
            f"Default: {format_ts(DEFAULT_START)}."
        ),
    ] = None,
    team: Teams = None,
    host: Host = "gpu-host-1",
    gpu_seed: GpuSeedFile = BUILT_IN_SEED,
    run: RunName = None,
    report: ReportFile = None,
    raw_retention_days: RawRetentionDays = None,
) -> None:
    """Send a trace's requests as token usage, with GPU metrics between them, in event time.

    The first line tells which trace it is; gzip and zstd are unpacked. Event time is the trace's own, and
    so is the order, whatever the file's. A broken row is named and skipped; the others are sent and the exit
    status stays 0. The report goes to /reports/<run>.json if that folder exists.
    """
    source = open_trace(trace, _start(start))
    name = run or model or source.name
    if report is None and _REPORTS.is_dir():
        report = _REPORTS / f"{re.sub(r'[^A-Za-z0-9._-]', '-', name)}.json"
    plan = ReplayPlan(
        trace=source,
        model=model,
        host=host,
        gpus=load_gpus(gpu_seed),
        metrics_interval_seconds=metrics_interval_seconds,
        teams=_teams(team),
        repeat=repeat,
        kept_from=datetime.now(UTC) - timedelta(days=raw_retention_days) if raw_retention_days else None,
    )
    with Run(kafka, _new_report(name, plan.one_model), report) as sending:
        sending.replay(replay_events(plan), speed)


@app.command()
@_uses_kafka
def replay_readings(
    *,
    kafka: KafkaSettings,
    log: Annotated[
        Path, typer.Argument(help="What `nvidia-smi --query-gpu=timestamp,uuid,… --format=csv` printed.")
    ],
    zone: Annotated[
        str,
        typer.Option(help="Zone of the clock of the machine that wrote it, such as Europe/Berlin or UTC."),
    ],
    columns: Annotated[
        str | None,
        typer.Option(help="What was asked for (--query-gpu), if the log was written without a header."),
    ] = None,
    host: Annotated[str, typer.Option(callback=_fits, help="The machine that wrote it.")],
    deployment: Annotated[str | None, typer.Option(callback=_fits, help="What its GPUs served.")] = None,
    report: ReportFile = None,
) -> None:
    """Send the readings of a log of nvidia-smi, in the log's order.

    A broken row is named and skipped. The same log sends the same events, which count once. UTF-8 and UTF-16
    are read; gzip and zstd are unpacked.
    """
    from gpu_token_producers.sources.gpus.nvidia_smi_log import log_lines, log_readings
    from gpu_token_producers.sources.labels import Labels

    labels = Labels(host=host, deployment=deployment)
    names = columns.split(",") if columns else None
    readings = log_readings(log_lines(log), _zone(zone), labels, str(log), columns=names)
    with Run(kafka, _new_report(log.name, ""), report) as sending:
        sending.replay(readings, 0)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise ProducerError(
            f"--zone is {name!r}, which is no zone of the tz database: give one such as Europe/Berlin or UTC."
        ) from error


@app.command()
@_uses_kafka
def collect(
    *,
    kafka: KafkaSettings,
    sources: Annotated[Path, typer.Argument(help="YAML file of the sources (docs/sources.md).")],
    state_dir: Annotated[
        Path,
        typer.Option(envvar="COLLECT_STATE_DIR", help="Folder of what must survive a restart."),
    ] = Path("/var/lib/gpu-token-producers"),
    since: Annotated[
        str | None,
        typer.Option(help="How far back to read Prometheus servers at the first start, such as 30d."),
    ] = None,
    raw_retention_days: RawRetentionDays = None,
) -> None:
    """Read and receive what engines, GPU exporters, gateways and Prometheus tell, until stopped.

    Each token and each reading counts once, whatever is killed meanwhile: how far each source was
    read, and what Kafka does not have yet, stands in the state folder.
    """
    # FastAPI, pydantic and httpx take a second to load, which no other command needs.
    from gpu_token_producers.sources.collect import collect as run_sources
    from gpu_token_producers.sources.settings import load_sources

    plan = load_sources(sources, since)
    for source in plan.sources:
        reach = getattr(source, "since", None)
        if reach and raw_retention_days and reach > timedelta(days=raw_retention_days):
            typer.echo(
                f"{source.name}: since reaches back {reach.days} days, and events are kept for "
                f"{raw_retention_days}: what is older becomes dead letters with the reason too_late.",
                err=True,
            )
    heartbeat = HeartbeatWriter(heartbeat_path())
    with Run(kafka, _new_report("collect", ""), None, [heartbeat], kept_in=state_dir) as sending:
        run_sources(plan, sending, kafka, state_dir)


@app.command()
@_uses_kafka
def resend_dead_letters(
    *,
    kafka: KafkaSettings,
    reason: Annotated[
        list[str] | None, typer.Option(help="Only letters of this reason; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, send nothing.")] = False,
) -> None:
    """Send dead letters to the topics they came from again, and print the counts as JSON.

    Each keeps its identity, so that a letter that is resent twice counts once. The next run for
    the same reasons goes on where this one ended.
    """
    if unknown := set(reason or ()) - set(Reason):
        raise typer.BadParameter(f"no such reason as {', '.join(unknown)}: use one of {', '.join(Reason)}")
    counts = Resend(kafka, reason or (), dry_run).run()
    print(msgspec.json.encode(counts).decode())


@app.command()
def trace(
    out: Annotated[Path, typer.Argument(help="File to write.")],
    rows: Annotated[int, typer.Option(min=1, help="Requests.")] = 8819,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 1,
) -> None:
    """Write a seeded trace of the shape of the public one, and print its totals as JSON."""
    made = synthetic_trace(rows, seed)
    with _one_sentence():
        try:
            write_atomically(out, made.content)
        except OSError as error:
            raise ProducerError(f"Trace {out} cannot be written: {error.strerror}.") from error
    totals = {
        "rows": made.rows,
        "prompt_tokens": made.prompt_tokens,
        "completion_tokens": made.completion_tokens,
    }
    print(msgspec.json.encode(totals).decode())


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn a failure into its sentence and exit status 1."""
    try:
        yield
    except (ProducerError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def _new_report(run: str, model: str | None) -> Report:
    return Report(run=run, model=model, started_at=datetime.now(UTC))
