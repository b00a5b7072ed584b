"""What the images are built of, and which versions can be built."""

import pytest

from lab.errors import LabError
from lab.images import recipes

from .lab_images import fleet


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kafka": "apache/kafka:latest"}, "images.kafka is 'apache/kafka:latest', whose tag"),
        ({"kafka": "apache/kafka:3.7.0"}, "from 4.0.0 on"),
        ({"python": "python:3.12-slim"}, "pin python:3.13-slim, or set LAB_IMAGES=official"),
    ],
)
def test_version_that_packages_do_not_give_is_refused_in_a_sentence(
    changed: dict[str, str], said: str
) -> None:
    with pytest.raises(LabError) as refusal:
        recipes.services(fleet(**changed))
    assert said in str(refusal.value)


def test_tag_holds_version_and_content() -> None:
    one, other = recipes.services(fleet()), recipes.services(fleet(kafka="apache/kafka:4.1.0"))
    assert one.kafka.reference.startswith("apache/kafka:4.1.1-built.")
    assert one.kafka.tag != other.kafka.tag
    assert one.python.reference == other.python.reference
    assert one.mongo.reference.startswith("secantusdb/mongo-compat:")


def test_a_digest_leaves_the_version_that_is_built() -> None:
    plain, pinned = fleet(), fleet(kafka=f"apache/kafka:4.1.1@sha256:{64 * 'a'}")
    assert recipes.services(pinned).kafka == recipes.services(plain).kafka
