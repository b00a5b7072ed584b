"""Which offsets may be committed: those of stored records, on partitions that are still assigned."""

from collections.abc import Iterable, Mapping

from gpu_token_processor.pipeline.batch import Partition


class Offsets:
    """Offsets are the next to read, as Kafka commits them. Used only by the consumer's thread."""

    def __init__(self) -> None:
        self._stored: dict[Partition, int | None] = {}
        self._committed: dict[Partition, int] = {}

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The assigned partitions."""
        return tuple(self._stored)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """These partitions are assigned from now on; nothing of them is stored yet."""
        for partition in partitions:
            self._stored[partition] = None
            self._committed.pop(partition, None)

    def drop(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer assigned: other processors commit what is stored of them."""
        for partition in partitions:
            self._stored.pop(partition, None)
            self._committed.pop(partition, None)

    def stored(self, next_offsets: Mapping[Partition, int]) -> None:
        """A batch is safe; batches arrive in the order in which they were read."""
        for partition, offset in next_offsets.items():
            if partition in self._stored:
                self._stored[partition] = offset

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Kafka has acknowledged these."""
        for partition, offset in offsets.items():
            if partition in self._stored:
                self._committed[partition] = offset

    def to_commit(self) -> dict[Partition, int]:
        """Stored offsets that Kafka does not know yet."""
        return {
            partition: offset
            for partition, offset in self._stored.items()
            if offset is not None and offset != self._committed.get(partition)
        }

    def position(self, partition: Partition) -> int | None:
        """The next offset that is not safe yet, if it is known."""
        stored = self._stored.get(partition)
        return stored if stored is not None else self._committed.get(partition)
