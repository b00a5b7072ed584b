"""The launchers of Kafka's tools."""

import os
import zipfile
from pathlib import Path

import pytest

from lab.images.contexts.kafka import launchers


def test_launcher_takes_the_class_that_is_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jar", "w") as jar:
        jar.writestr("kafka/admin/ConfigCommand.class", b"")
    table = tmp_path / "tools.txt"
    table.write_text(
        "# name class\nkafka-configs.sh org.apache.kafka.tools.ConfigCommand kafka.admin.ConfigCommand\n"
    )
    launchers.main(table, tmp_path, tmp_path / "bin")
    written = tmp_path / "bin/kafka-configs.sh"
    assert "kafka-run-class.sh kafka.admin.ConfigCommand" in written.read_text()
    assert os.access(written, os.X_OK)

    table.write_text("kafka-nothing.sh org.apache.kafka.Nothing\n")
    with pytest.raises(SystemExit, match=r"kafka-nothing.sh: none of org.apache.kafka.Nothing"):
        launchers.main(table, tmp_path, tmp_path / "bin")
