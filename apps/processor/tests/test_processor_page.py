"""The page's files: what is sent, what may be done with it, and that vendored ones are the pinned ones."""

import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import gpu_token_processor
import pytest
from processor_stage import Stage

PAGE = Path(gpu_token_processor.__file__).with_name("page")
NPM = Path(__file__).resolve().parents[1] / "npm"
FILES = sorted(path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file())
OWN = [name for name in FILES if not name.startswith("vendor/")]
HTML = [name for name in OWN if name.endswith(".html")]
MAX_PACKED_BYTES = 60_000


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(token="0123456789abcdefghijABCDEFGHIJ")


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_sent_to_everybody_as_it_is(name: str, stage: Stage) -> None:
    for encoding in ("gzip", "identity"):
        response = stage.client.get(f"/page/{name}", headers={"Accept-Encoding": encoding})
        assert response.status_code == 200
        assert response.content == (PAGE / name).read_bytes()
        assert response.headers.get("content-encoding", "identity") == encoding
    kind = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert response.headers["content-type"].split(";")[0] == kind.get(Path(name).suffix, "text/plain")


def test_the_page_is_at_the_root(stage: Stage) -> None:
    assert stage.client.get("/").content == (PAGE / "index.html").read_bytes()
    assert stage.client.get("/?range=7d&group=team").status_code == 200


def test_a_head_is_that_of_the_file(stage: Stage) -> None:
    for path in ("/", "/page/main.js"):
        head, whole = stage.client.head(path), stage.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == whole.headers


def test_what_has_not_changed_is_not_sent_again(stage: Stage) -> None:
    first = stage.client.get("/page/main.js")
    etag = first.headers["etag"]
    again = stage.client.get("/page/main.js", headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == "no-cache"
    assert stage.client.get("/page/main.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert stage.client.get("/page/style.css").headers["etag"] != etag


@pytest.mark.parametrize("path", ["/page/", "/page/none.js", "/page/../api/app.py", "/page/%2e%2e/app.py"])
def test_nothing_else_is_sent(path: str, stage: Stage) -> None:
    response = stage.client.get(path)
    assert response.status_code in (401, 404)
    assert b"import" not in response.content


def test_all_of_it_is_little(stage: Stage) -> None:
    packed = sum(len(gzip.compress((PAGE / name).read_bytes())) for name in FILES if name != "about.html")
    assert packed < MAX_PACKED_BYTES


class Tags(HTMLParser):
    """What a page loads, and what a strict policy refuses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        if tag in ("script", "link", "img"):
            self.loaded.append(found.get("src") or found.get("href") or "")


@pytest.mark.parametrize("name", HTML)
def test_a_page_loads_what_is_there_and_has_no_code_inside(name: str, stage: Stage) -> None:
    tags = Tags((PAGE / name).read_text())
    assert tags.inline == []
    base = "" if name == "index.html" else "page/"
    for path in tags.loaded:
        assert stage.client.get(f"/{base}{path}").status_code == 200, path


@pytest.mark.parametrize("name", OWN)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    text = (PAGE / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text) == []


def test_every_module_is_loaded_with_the_page() -> None:
    preloaded = re.findall(r'modulepreload" href="page/(\w+\.js)"', (PAGE / "index.html").read_text())
    assert sorted([*preloaded, "main.js"]) == [name for name in OWN if name.endswith(".js")]


def test_the_policy_allows_its_own_files_and_no_html_of_text(stage: Stage) -> None:
    policy = stage.client.get("/").headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
        assert part in policy.split("; ")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


def test_what_is_vendored_is_what_the_lock_pins_and_what_was_recorded() -> None:
    record = json.loads((NPM / "vendored.json").read_text())
    locked = json.loads((NPM / "package-lock.json").read_text())["packages"]
    wanted = json.loads((NPM / "package.json").read_text())["dependencies"]
    assert record.keys() == wanted.keys()
    recorded = {}
    for name, part in record.items():
        assert part["version"] == wanted[name] == locked[f"node_modules/{name}"]["version"]
        assert part["integrity"] == locked[f"node_modules/{name}"]["integrity"]
        assert "LICENSE" in part["sha256"]
        recorded |= {f"vendor/{name}/{file}": digest for file, digest in part["sha256"].items()}
    there = {
        name: hashlib.sha256((PAGE / name).read_bytes()).hexdigest()
        for name in FILES
        if name.startswith("vendor/")
    }
    assert there == recorded, "run scripts/vendor_page.sh; the copies are not to be changed by hand"
