from gpu_token_processor.pipeline.batch import Partition
from gpu_token_processor.pipeline.ledger import Ledger

A, B = Partition("t", 0), Partition("t", 1)


def test_only_what_is_stored_is_committed() -> None:
    ledger = Ledger()
    ledger.assign([A, B])
    assert ledger.to_commit() == {}
    ledger.stored({A: 10})
    assert ledger.to_commit() == {A: 10}
    ledger.committed({A: 10})
    assert ledger.to_commit() == {}
    ledger.stored({A: 11, B: 3})
    assert ledger.to_commit() == {A: 11, B: 3}


def test_a_failed_commit_stays_due() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.stored({A: 10})
    assert ledger.to_commit() == ledger.to_commit() == {A: 10}


def test_a_partition_that_is_gone_is_not_committed() -> None:
    ledger = Ledger()
    ledger.assign([A, B])
    ledger.stored({A: 10, B: 5})
    ledger.drop([A])
    ledger.stored({A: 20})
    assert ledger.to_commit() == {B: 5}
    assert ledger.partitions == (B,)


def test_an_earlier_assignment_leaves_nothing_behind() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.stored({A: 10})
    ledger.drop([A])
    ledger.assign([A])
    assert ledger.to_commit() == {}
    assert ledger.position(A) is None
    ledger.committed({A: 40})
    assert ledger.position(A) == 40
