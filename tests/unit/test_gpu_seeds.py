"""The inventory that the store is seeded with is the one that the producers speak for."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_store_knows_the_producers_gpus() -> None:
    seeds = yaml.safe_load((ROOT / "roles/mongo/defaults/main.yml").read_text())["mongo_gpu_seeds"]
    assert seeds == json.loads((ROOT / "apps/producers/gpu_token_producers/gpus.json").read_text())
