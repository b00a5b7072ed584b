"""Covered time that was counted in parts, one after the other, as if it had been counted at once."""

from collections.abc import Iterable, Iterator

from gpu_token_processor.ledger.book import Seen
from gpu_token_processor.ledger.coverage import Coverage, GpuTrack, Own, Sums


class Covered:
    """Takes parts of a range in order of time. Each begins where the one before it ends."""

    def __init__(self, gap_us: int) -> None:
        self._gap_us = gap_us
        self._sums: list[Sums] = []
        self.tracks: dict[str, GpuTrack] = {}
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.conflicts = 0

    def finish(self) -> None:
        """Nothing: each part is finished by itself."""

    def sums(self) -> Iterator[Sums]:
        """Of all parts."""
        return iter(self._sums)

    def include(self, coverage: Coverage) -> None:
        """Add a part that has been counted from readings, and is finished."""
        self._sums += coverage.sums()
        self.conflicts += coverage.conflicts
        for track in coverage.tracks.values():
            assert track.seen is not None
            self.follow(
                track.gpu_id,
                track.first_us,
                track.last_us,
                track.readings,
                track.gap_us,
                track.seen,
                track.own,
            )
        self.span(coverage.first_us, coverage.last_us)

    def add(self, sums: Iterable[Sums]) -> None:
        """Add sums of the next part."""
        self._sums += sums

    def span(self, first_us: int | None, last_us: int | None) -> None:
        """The first and the last moment that the next part covers."""
        if first_us is not None and last_us is not None:
            self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
            self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)

    def follow(
        self, gpu_id: str, first_us: int, last_us: int, readings: int, gap_us: int, seen: Seen, own: Own
    ) -> None:
        """What the next part knows of a GPU: its readings lie between `first_us` and `last_us`."""
        track = self.tracks.get(gpu_id)
        if track is None:
            track = self.tracks[gpu_id] = GpuTrack(gpu_id, first_us=first_us)
        elif first_us > track.last_us:
            # Neither part has seen both sides of a gap between them.
            track.gap_us += max(0, first_us - track.last_us - self._gap_us)
        track.readings += readings
        track.gap_us += gap_us
        if last_us > track.last_us:
            track.last_us, track.seen, track.own = last_us, seen, own
