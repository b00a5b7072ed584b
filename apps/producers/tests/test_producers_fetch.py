"""A target's answer within limits of time and size, and one sentence for each way in which there is none."""

import gzip
import time
from pathlib import Path
from threading import Timer

import producers_targets as targets
import pytest
import zstandard
from gpu_token_producers.sources.fetch import MAX_BYTES, Answer, Fetcher, SourceError
from producers_targets import Target, closed_port, says

TIMEOUT_SECONDS = 1.0
ACCEPT = "text/plain"


def get(url: str, token_file: Path | None = None) -> Answer:
    with Fetcher(TIMEOUT_SECONDS, token_file) as fetcher:
        return fetcher.get(url, accept=ACCEPT)


def trouble(url: str, token_file: Path | None = None) -> SourceError:
    with pytest.raises(SourceError) as raised:
        get(url, token_file)
    return raised.value


def test_an_answer() -> None:
    with Target(says(b"a 1\n")) as target:
        answer = get(target.url)
    assert (answer.body, answer.content_type) == (b"a 1\n", "text/plain")


def test_one_client_asks_many_times() -> None:
    with Target(says(b"a 1\n")) as target, Fetcher(TIMEOUT_SECONDS) as fetcher:
        for _ in range(20):
            assert fetcher.get(target.url, accept=ACCEPT).body == b"a 1\n"
        target.answer = targets.resets
        with pytest.raises(SourceError):
            fetcher.get(target.url, accept=ACCEPT)
        target.answer = says(b"a 2\n")
        assert fetcher.get(target.url, accept=ACCEPT).body == b"a 2\n"


@pytest.mark.parametrize(
    "answer",
    [targets.hangs, targets.hangs_in_the_body, targets.trickles_the_head, targets.trickles_the_body],
    ids=lambda answer: answer.__name__,
)
def test_the_limit_is_that_of_the_whole_answer(answer: targets.Answer) -> None:
    with Target(answer) as target:
        begun = time.monotonic()
        error = trouble(target.url)
        took = time.monotonic() - begun
    assert (error.kind, str(error)) == ("too slow", "did not answer within 1 seconds")
    assert took < TIMEOUT_SECONDS + 0.5


def test_a_machine_that_does_not_answer_at_all() -> None:
    # TEST-NET-1 of RFC 5737: no packet comes back, or the network says at once that there is no way.
    error = trouble("http://192.0.2.1:8000/metrics")
    assert error.kind in ("too slow", "unreachable ConnectError")


def test_where_nothing_listens() -> None:
    with closed_port() as port:
        error = trouble(f"http://127.0.0.1:{port}/metrics")
    assert error.kind == "unreachable ConnectError"
    assert str(error).startswith("cannot be reached: ")


def test_a_name_that_does_not_exist() -> None:
    assert trouble("http://no-such-host.invalid:8000/metrics").kind in (
        "unreachable ConnectError",
        "too slow",
    )


@pytest.mark.parametrize(
    "answer", [targets.resets, targets.ends_early, targets.speaks_no_http], ids=lambda answer: answer.__name__
)
def test_a_connection_that_breaks(answer: targets.Answer) -> None:
    with Target(answer) as target:
        assert trouble(target.url).kind.startswith("unreachable ")


@pytest.mark.parametrize("status", ["500 Internal Server Error", "404 Not Found", "204 No Content"])
def test_another_status(status: str) -> None:
    with Target(says(b"\x1b[31mnot\r\nnow" * 100, status=status)) as target:
        error = trouble(target.url)
    assert error.kind == f"status {status[:3]}"
    assert str(error).startswith(f"answers {status}")
    assert "\x1b" not in str(error)
    assert len(str(error)) < 300


def test_a_redirect_is_not_followed_and_says_where_to() -> None:
    with (
        Target(says(b"a 1\n")) as other,
        Target(says(b"", f"Location: {other.url}", status="302 Found")) as target,
    ):
        assert str(trouble(target.url)) == f"answers 302 Found to {other.url}"
        assert other.heads == []


def test_what_is_too_large() -> None:
    with (
        Target(targets.endless) as target,
        Fetcher(20) as fetcher,
        pytest.raises(SourceError, match="more than 32 MiB") as raised,
    ):
        fetcher.get(target.url, accept=ACCEPT)
    assert raised.value.kind == "too large"


def test_the_limit_of_size_holds_for_what_is_unpacked() -> None:
    with (
        Target(targets.bomb()) as target,
        Fetcher(20) as fetcher,
        pytest.raises(SourceError, match="more than 32 MiB"),
    ):
        fetcher.get(target.url, accept=ACCEPT)


def test_gzip_is_unpacked() -> None:
    with Target(says(gzip.compress(b"a 1\n" * 10_000), "Content-Encoding: gzip")) as target:
        assert get(target.url).body == b"a 1\n" * 10_000
    assert len(b"a 1\n" * 10_000) < MAX_BYTES


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (zstandard.compress(b"a 1\n"), "zstd"),
        (b"no gzip", "gzip"),
        (gzip.compress(b"a 1\n" * 10_000, mtime=0)[:-20], "gzip"),
    ],
    ids=["not asked for", "not what it says", "cut off"],
)
def test_an_encoding_that_cannot_be_read(body: bytes, encoding: str) -> None:
    with Target(says(body, f"Content-Encoding: {encoding}")) as target:
        assert trouble(target.url).kind == "encoding"


@pytest.mark.parametrize("offset", [-600, 0, 600])
def test_how_far_the_targets_clock_is_ahead(offset: int) -> None:
    with Target(says(b"a 1\n", date_offset=offset)) as target:
        assert abs(get(target.url).clock_ahead_us / 1_000_000 - offset) <= 1


@pytest.mark.parametrize("date", [None, "soon", "Mon, 01 Jan 9999 00:00:00 GMT"])
def test_a_target_without_a_usable_clock(date: str | None) -> None:
    headers = () if date is None else (f"Date: {date}",)
    with Target(says(b"a 1\n", *headers, date_offset=None)) as target:
        assert isinstance(get(target.url).clock_ahead_us, int)


def test_the_token_is_shown_to_the_target_and_to_nobody_else(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with (
        Target(says(b"a 1\n")) as other,
        Target(says(b"", f"Location: {other.url}", status="307 Temporary Redirect")) as target,
    ):
        trouble(target.url, token)
        assert b"Authorization: Bearer s3cret\r\n" in target.heads[0].replace(
            b"authorization", b"Authorization"
        )
        assert other.heads == []


@pytest.mark.parametrize("content", ["", "two words", "two\nlines", "gr\u00fcn"])
def test_a_token_that_is_none_is_not_shown(tmp_path: Path, content: str) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    error = trouble("http://127.0.0.1:9/metrics", token)
    assert error.kind == "no token"
    assert not content or content not in str(error)


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in str(trouble("http://127.0.0.1:9/metrics", tmp_path / "none"))


def test_a_wait_may_be_given_up_from_another_thread() -> None:
    with Target(targets.hangs) as target, Fetcher(60) as fetcher:
        fetcher.give_up()
        Timer(0.3, fetcher.give_up).start()
        begun = time.monotonic()
        with pytest.raises(SourceError, match="was not waited for any longer"):
            fetcher.get(target.url, accept=ACCEPT)
        assert time.monotonic() - begun < 5
