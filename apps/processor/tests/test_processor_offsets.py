from gpu_token_processor.pipeline.batch import Partition
from gpu_token_processor.pipeline.offsets import Offsets

A, B = Partition("t", 0), Partition("t", 1)


def test_only_what_is_stored_is_committed() -> None:
    offsets = Offsets()
    offsets.assign([A, B])
    assert offsets.to_commit() == {}
    offsets.stored({A: 10})
    assert offsets.to_commit() == {A: 10}
    offsets.committed({A: 10})
    assert offsets.to_commit() == {}
    offsets.stored({A: 11, B: 3})
    assert offsets.to_commit() == {A: 11, B: 3}


def test_a_failed_commit_stays_due() -> None:
    offsets = Offsets()
    offsets.assign([A])
    offsets.stored({A: 10})
    assert offsets.to_commit() == offsets.to_commit() == {A: 10}


def test_a_partition_that_is_gone_is_not_committed() -> None:
    offsets = Offsets()
    offsets.assign([A, B])
    offsets.stored({A: 10, B: 5})
    offsets.drop([A])
    offsets.stored({A: 20})
    assert offsets.to_commit() == {B: 5}
    assert offsets.partitions == (B,)


def test_an_earlier_assignment_leaves_nothing_behind() -> None:
    offsets = Offsets()
    offsets.assign([A])
    offsets.stored({A: 10})
    offsets.drop([A])
    offsets.assign([A])
    assert offsets.to_commit() == {}
    assert offsets.position(A) is None
    offsets.committed({A: 40})
    assert offsets.position(A) == 40
