"""Writes one launcher for each line of a table, and proves that the class it starts is in the jars.

Usage: launchers.py TABLE LIBS OUT
A line is a name and its class; where a class has moved between Kafka's versions, the candidates follow.
"""

import sys
import zipfile
from pathlib import Path

LAUNCHER = '#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh {main_class} "$@"\n'


def classes(libs: Path) -> set[str]:
    """Names of all classes in the jars of a folder."""
    found: set[str] = set()
    for jar in libs.glob("*.jar"):
        with zipfile.ZipFile(jar) as archive:
            found.update(
                name[:-6].replace("/", ".") for name in archive.namelist() if name.endswith(".class")
            )
    return found


def main(table: Path, libs: Path, out: Path) -> None:
    """Write the launchers, executable."""
    known = classes(libs)
    out.mkdir(parents=True, exist_ok=True)
    for line in table.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, *candidates = line.split()
        main_class = next((each for each in candidates if each in known), None)
        if main_class is None:
            sys.exit(f"{name}: none of {', '.join(candidates)} is in the jars of this Kafka version.")
        launcher = out / name
        launcher.write_text(LAUNCHER.format(main_class=main_class))
        launcher.chmod(0o755)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
