"""One store for the whole run, and a new database for each test that needs one."""

import os
from collections.abc import Iterator

import pytest
from processor_mongo import database

from testing.store import Store


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MONGO_URL_TEST names another store, such as MongoDB itself."""
    if url := os.environ.get("MONGO_URL_TEST"):
        yield url
        return
    with Store.plain(tmp_path_factory.mktemp("mongo")).running() as store:
        yield store.url


@pytest.fixture
def mongo_database(mongo_url: str) -> Iterator[str]:
    """Its name."""
    with database(mongo_url) as name:
        yield name
