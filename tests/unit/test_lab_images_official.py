"""What a registry is asked, and which answers count."""

import io
import urllib.error
from email.message import Message
from typing import Any

import pytest

from lab.images import official

CHALLENGE = 'Bearer realm="https://auth.example/token",service="r",scope="repository:library/mongo:pull"'


class Answer(io.BytesIO):
    """An HTTP answer."""

    status = 200

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(body)
        self.headers = Message()


def refusal(code: int, challenge: str = "") -> urllib.error.HTTPError:
    """An HTTP error, as urllib raises it."""
    headers = Message()
    if challenge:
        headers["WWW-Authenticate"] = challenge
    return urllib.error.HTTPError("", code, "", headers, None)


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ([Answer()], True),
        ([refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), Answer()], True),
        ([refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), refusal(404)], False),
        ([refusal(401, CHALLENGE), Answer(b"<html>log in</html>")], False),
        ([refusal(401, CHALLENGE), Answer(b'{"error": "x"}')], False),
        ([refusal(401, CHALLENGE), Answer(b"[]")], False),
        ([refusal(401)], False),
        ([refusal(403)], False),
        ([urllib.error.URLError("no such host")], False),
        ([TimeoutError()], False),
    ],
)
def test_only_a_served_manifest_counts(
    monkeypatch: pytest.MonkeyPatch, given: list[Any], served: bool
) -> None:
    answers(monkeypatch, *given)
    assert official.is_served("mongo:7.0", 1.0) is served


def answers(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[str]:
    """Have the registry give these answers; returns the list of what it is asked."""
    asked: list[str] = []
    left = list(answers)

    def urlopen(request: Any, timeout: float) -> Answer:
        assert timeout == 1.0
        asked.append(
            f"{request.get_method()} {request.full_url}" if hasattr(request, "full_url") else request
        )
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Answer)
        return answer

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def test_tags_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Answer(b'{"tags": ["7.0"]}'), Answer(b'{"tags": ["8.2"]}')
    first.headers["Link"] = '</v2/library/mongo/tags/list?last=7.0>; rel="next"'
    asked = answers(monkeypatch, refusal(401, CHALLENGE), Answer(b'{"token": "t"}'), first, second)
    assert official.tags("mongo:7.0", 1.0) == ["7.0", "8.2"]
    tags = "GET https://registry-1.docker.io/v2/library/mongo/tags/list"
    assert [asked[0], *asked[2:]] == [tags, tags, f"{tags}?last=7.0"]


def test_a_tags_digest_is_the_registrys_word(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Answer()
    known.headers["Docker-Content-Digest"] = "sha256:12"
    asked = answers(monkeypatch, known, Answer())
    assert official.digest("mongo:7.0", 1.0) == "sha256:12"
    assert asked == ["HEAD https://registry-1.docker.io/v2/library/mongo/manifests/7.0"]
    with pytest.raises(ValueError, match="no digest for mongo"):
        official.digest("mongo:7.0", 1.0)
