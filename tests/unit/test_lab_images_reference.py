"""Image references are read as Docker reads them."""

import pytest

from lab.images import reference


@pytest.mark.parametrize(
    ("written", "registry", "repository", "tag", "digest"),
    [
        ("mongo:7.0", reference.DOCKER_HUB, "library/mongo", "7.0", ""),
        ("apache/kafka:4.1.1", reference.DOCKER_HUB, "apache/kafka", "4.1.1", ""),
        ("python", reference.DOCKER_HUB, "library/python", "latest", ""),
        ("ghcr.io/a/b:1", "ghcr.io", "a/b", "1", ""),
        ("localhost:5000/a@sha256:12", "localhost:5000", "a", "", "sha256:12"),
        ("localhost:5000/a:1@sha256:12", "localhost:5000", "a", "1", "sha256:12"),
    ],
)
def test_reference_is_read_as_docker_reads_it(
    written: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    parsed = reference.parse(written)
    assert parsed == reference.Reference(registry, repository, tag, digest)
    assert parsed.manifest_url == f"https://{registry}/v2/{repository}/manifests/{digest or tag}"
