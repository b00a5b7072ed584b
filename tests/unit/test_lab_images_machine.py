"""The image of the machines."""

from lab.images.recipe import CONTEXTS


def test_no_unit_of_the_machine_is_ordered_before_a_socket() -> None:
    """Sockets come before basic.target, ordinary units after it: systemd would drop one at random."""
    units = sorted((CONTEXTS / "machine").glob("files/etc/systemd/system/*.service"))
    assert units
    for unit in units:
        ordered = [line for line in unit.read_text().splitlines() if line.startswith("Before=")]
        assert not any(".socket" in line for line in ordered), unit.name
