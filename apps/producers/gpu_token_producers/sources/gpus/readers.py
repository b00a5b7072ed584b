"""Asks exporters and nvidia-smi at intervals."""

from datetime import datetime

from gpu_token_contracts import GpuMetric, moment

from gpu_token_producers.sources.fetch import Fetcher, SourceError
from gpu_token_producers.sources.gpus.exporters import EXPORTERS
from gpu_token_producers.sources.gpus.nvidia_smi import smi_readings
from gpu_token_producers.sources.gpus.nvidia_smi_command import NoDriver, query
from gpu_token_producers.sources.journal import Journal
from gpu_token_producers.sources.scraping import ACCEPT, Reader, now_us, samples_of
from gpu_token_producers.sources.settings import GpuSource, SmiSource
from gpu_token_producers.sources.status import Status


class ExporterReader(Reader):
    """An exporter of GPU readings."""

    def __init__(self, source: GpuSource, status: Status, journal: Journal) -> None:
        self._fetcher = Fetcher(source.timeout_seconds, source.token_file)
        super().__init__(status, [journal], source.interval_seconds, self._fetcher)
        self._source = source
        self._journal = journal
        self._exporter = EXPORTERS[source.type]

    def _ask(self) -> None:
        source = self._source
        answer = self._fetcher.get(str(source.target), accept=ACCEPT)
        samples = samples_of(answer, self._exporter.wanted)
        readings = self._exporter.readings(samples, source.address, _now(), source.labels, source.deployments)
        if not readings:
            raise SourceError(
                "no readings",
                f"answers without any GPU of the type {source.type}: check the type and the target",
            )
        self._journal.record(readings)
        self.status.works(len(readings))


class SmiReader(Reader):
    """The program nvidia-smi."""

    def __init__(self, source: SmiSource, status: Status, journal: Journal) -> None:
        super().__init__(status, [journal], source.interval_seconds)
        self._source = source
        self._journal = journal

    def _ask(self) -> None:
        source = self._source
        try:
            text = query(timeout_seconds=source.timeout_seconds)
        except NoDriver as error:
            raise SourceError("no driver", f"gave nothing. {str(error).rstrip('.')}") from error
        rows = smi_readings(text, source.name, _now(), source.labels, source.deployments)
        readings = [row for row in rows if isinstance(row, GpuMetric)]
        self._journal.record(readings)
        self.status.works(len(readings))
        self.status.remark(
            frozenset(row.reason.rstrip(".") for row in rows if not isinstance(row, GpuMetric))
        )


def _now() -> datetime:
    return moment(now_us())
