"""docs/processor.md lists every metric that the processor exposes, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from gpu_token_processor.service import Service
from gpu_token_processor.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "processor.md").read_text()
PACKAGE = ROOT / "apps" / "processor" / "gpu_token_processor"


def test_every_metric_is_listed_with_its_type() -> None:
    nobody = Settings(kafka_bootstrap="127.0.0.1:1", mongo_url="mongodb://127.0.0.1:1", api_access="open")
    answer = TestClient(Service(nobody).app()).get("/metrics")
    assert answer.status_code == 200
    exposed = re.findall(r"^# TYPE (gpu_token_\w+) (\w+)$", answer.text, flags=re.M)
    listed = re.findall(r"^\| `(gpu_token_\w+)` \| (\w+) \|", PAGE, flags=re.M)
    # When each counter was made; the client adds them by itself.
    assert sorted(listed) == sorted(one for one in exposed if not one[0].endswith("_created"))
    assert len(listed) >= 12


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE))))
def test_code_that_is_named_is_there(name: str) -> None:
    assert (PACKAGE / name).exists()
