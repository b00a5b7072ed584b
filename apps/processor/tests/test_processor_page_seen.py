"""The page in Chromium, over a processor with a week of events."""

import json
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import page_data
import pytest
from axe_playwright_python.sync_playwright import Axe
from gpu_token_processor.ledger.catalog_store import apply
from playwright.sync_api import Browser, Route, expect
from processor_fakes import TOPIC_METRIC, TOPIC_TOKEN
from processor_kafka import MockKafka
from processor_mongo import database
from processor_process import Process
from pymongo import MongoClient

from testing.page import THEMES, WIDTHS, Theme, Viewer, chromium
from testing.waiting import until

TOKEN = "0123456789abcdefghijABCDEFGHIJ"
MAX_IMAGE_BYTES = 250_000
REFUSED = "the server responded with a status of 401"


class Site(NamedTuple):
    """A processor, and the broker that it reads from."""

    process: Process
    kafka: MockKafka

    @property
    def url(self) -> str:
        return self.process.url


@contextmanager
def running(mongo_url: str, name: str, **settings: str) -> Iterator[Site]:
    with MockKafka() as kafka:
        kafka.make_topics(TOPIC_METRIC, TOPIC_TOKEN)
        environment = {"KAFKA_BOOTSTRAP": kafka.bootstrap, "MONGO_URL": mongo_url, "MONGO_DATABASE": name}
        gap = str(page_data.METRIC_GAP_SECONDS)
        with Process(TOKEN, **environment, METRIC_GAP_SECONDS=gap, **settings) as process:
            yield Site(process, kafka)


@pytest.fixture(scope="module")
def site(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """It holds a week."""
    now = datetime.now(UTC)
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    readings, usage = list(page_data.readings(now)), list(page_data.usage(now))
    with (
        database(mongo_url) as name,
        MongoClient[dict[str, Any]](mongo_url) as client,
        running(mongo_url, name, API_ACCESS="token", API_TOKEN_FILE=str(token)) as site,
    ):
        apply(client[name], page_data.catalog(now), now)
        site.kafka.send(TOPIC_METRIC, *readings)
        site.kafka.send(TOPIC_TOKEN, *usage, b"no event")
        stored = {"gpu_metrics": len(readings), "token_usage": len(usage), "dead_letters": 1}
        until(
            lambda: {each: client[name][each].count_documents({}) for each in stored} == stored,
            "a week is stored",
        )
        yield site


@pytest.fixture(scope="module")
def empty(mongo_url: str) -> Iterator[Site]:
    """It holds nothing, and asks for no token."""
    with database(mongo_url) as name, running(mongo_url, name) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


View = Callable[..., Viewer]


@pytest.fixture
def view(browser: Browser, site: Site) -> Iterator[View]:
    """Looks at the site, unless it is told to look elsewhere."""
    viewers: list[Viewer] = []

    def look(url: str = site.url, token: str = TOKEN, theme: Theme = "light", width: int = 1280) -> Viewer:
        viewers.append(Viewer(browser, url, token, theme, width))
        return viewers[-1]

    yield look
    for viewer in viewers:
        viewer.close()


# Numbers


@pytest.mark.parametrize("group", ["model", "deployment", "team", "gpu"])
def test_every_number_is_the_apis(group: str, view: View) -> None:
    viewer = view().open(f"?range=7d&group={group}")
    viewer.page.get_by_text("The same as a table").click()
    viewer.must_show_the_answers()
    assert len(viewer.numbers()["times"]) > 7
    assert viewer.complaints == []


@pytest.mark.parametrize("search", ["?range=hour", "?range=today", "?range=30d&step=hour", "?range=month"])
def test_every_range_is_the_apis(search: str, view: View) -> None:
    viewer = view().open(search)
    viewer.must_show_the_answers()
    assert viewer.complaints == []


def test_the_coverage_is_told_and_leads_to_what_it_means(view: View) -> None:
    viewer = view().open()
    said = viewer.numbers()["coverage"]
    assert re.match(
        r"\d+(\.\d)? % of the GPU time at the default price; .* leased and silent; refused events: 1\.$", said
    )
    viewer.page.get_by_role("link", name="What this means").click()
    expect(viewer.page.locator("#coverage")).to_be_in_viewport()
    assert viewer.complaints == []


def test_all_gpus_are_listed_those_that_report_first(view: View) -> None:
    viewer = view()
    # Two to a page, so that there are several.
    viewer.page.route(
        "**/gpu/info?*", lambda route: route.continue_(url=route.request.url.replace("1000", "2"))
    )
    viewer.open()
    gpus = viewer.numbers()["gpus"]
    assert [row[1] for row in gpus] == ["● reports"] * 8 + ["○ silent"]
    assert gpus[-1][0] == "GPU-old"


def test_names_are_text_and_break_nothing(view: View) -> None:
    viewer = view(width=360).open("?range=today")
    names = [row[0] for row in viewer.numbers()["groups"]]
    assert set(page_data.ODD_NAMES) <= set(names)
    assert viewer.page.locator("b").count() == 0
    assert viewer.is_as_wide_as_the_window()


def test_the_csv_is_the_apis(view: View, site: Site, tmp_path: Path) -> None:
    viewer = view().open("?range=custom&start=2026-01-01&end=2026-01-02&group=team")
    asked: list[str] = []
    viewer.page.on("request", lambda one: asked.append(one.url) if "/export/" in one.url else None)
    with viewer.page.expect_download() as download:
        viewer.page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "cost-by-team-2026-01-01-to-2026-01-02.csv"
    download.value.save_as(tmp_path / "cost.csv")
    (url,) = asked
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert (tmp_path / "cost.csv").read_bytes() == answer.read()


# Themes and widths


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_nothing_is_complained_of(theme: Theme, width: int, view: View) -> None:
    viewer = view(theme=theme, width=width).open()
    viewer.page.get_by_text("The same as a table").click()
    assert viewer.is_as_wide_as_the_window()
    viewer.page.locator("#chart canvas").wait_for()
    found = Axe().run(viewer.page)
    assert found.violations_count == 0, found.generate_report()
    assert viewer.complaints == []


@pytest.mark.parametrize("theme", THEMES)
def test_what_the_numbers_mean_can_be_read(theme: Theme, view: View) -> None:
    viewer = view(theme=theme, width=360)
    viewer.page.goto(f"{viewer.url}/page/about.html")
    assert viewer.is_as_wide_as_the_window()
    found = Axe().run(viewer.page)
    assert found.violations_count == 0, found.generate_report()
    assert viewer.complaints == []


def test_the_chart_has_the_colours_of_its_legend(view: View) -> None:
    """Also where the system's colours are in force; a chart that is one colour says nothing."""
    for theme in THEMES:
        viewer = view(theme=theme).open()
        colors = viewer.page.evaluate(
            """() => {
              const canvas = document.querySelector("#chart canvas");
              const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              const found = new Set();
              for (let at = 0; at < pixels.length; at += 4) {
                found.add(`rgb(${pixels.slice(at, at + 3).join(", ")})`);
              }
              return [...document.querySelectorAll(".legend .s1, .legend .s2, .legend .s3")]
                .map(swatch => found.has(getComputedStyle(swatch).backgroundColor));
            }"""
        )
        assert colors == [True] * 3, theme


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_pictures_are_small(theme: Theme, view: View, tmp_path: Path) -> None:
    """PAGE_IMAGES names the folder that gets them; those of the README are in docs/images."""
    folder = Path(os.environ.get("PAGE_IMAGES") or tmp_path)
    viewer = view(theme=theme).open()
    viewer.page.set_viewport_size({"width": 1280, "height": 1180})
    viewer.page.locator("#chart canvas").wait_for()
    file = folder / f"page-{theme}.png"
    viewer.page.screenshot(path=file)
    assert 20_000 < file.stat().st_size < MAX_IMAGE_BYTES


# States


def test_signed_out_a_wrong_token_and_the_right_one(view: View) -> None:
    viewer = view(token="", width=360)
    page = viewer.page
    page.goto(viewer.url)
    token = page.get_by_label("API token")
    expect(token).to_be_focused()
    expect(page.locator("#numbers")).to_be_hidden()
    expect(page.locator("#wrong")).to_be_hidden()
    assert Axe().run(page).violations_count == 0
    token.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#wrong")).to_be_visible()
    expect(page.locator("#numbers")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    assert viewer.complaints != []
    assert {said for said in viewer.complaints if REFUSED not in said} == set()
    viewer.complaints.clear()
    token.fill(TOKEN)
    page.get_by_role("button", name="Show the costs").click()
    expect(page.locator("#cost")).to_contain_text("$")
    expect(page.locator("#login")).to_be_hidden()
    assert TOKEN not in page.content()
    assert TOKEN not in page.url
    page.get_by_role("button", name="Forget the token").click()
    expect(token).to_be_visible()
    expect(page.locator("#numbers")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    assert viewer.complaints == []


def test_nothing_stored_is_said(view: View, empty: Site) -> None:
    viewer = view(url=empty.url, token="").open()
    page = viewer.page
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#figure")).to_be_hidden()
    expect(page.get_by_text("No GPU has reported yet.")).to_be_visible()
    expect(page.locator("#no-budgets")).to_be_visible()
    expect(page.locator("#refused")).to_be_hidden()
    expect(page.locator("#forget")).to_be_hidden()
    assert viewer.complaints == []


def test_what_is_asked_for_is_said_until_it_is_there(view: View) -> None:
    viewer = view()
    page = viewer.page
    held: list[Route] | None = []
    page.route("**/cost?*", lambda route: route.continue_() if held is None else held.append(route))
    page.goto(viewer.url)
    expect(page.locator("#content")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#cost")).to_have_text("…")
    expect(page.locator("#said")).to_have_text("Costs are being asked for.")
    asked, held = held, None
    for route in asked:
        route.continue_()
    viewer.wait()
    expect(page.locator("#said")).to_contain_text("are shown.")
    assert viewer.complaints == []


def test_an_error_is_told_in_the_servers_words_and_can_be_tried_again(view: View) -> None:
    viewer = view()
    page = viewer.page
    problem = {
        "title": "The store does not answer",
        "status": 503,
        "detail": "MongoDB did not answer in time.",
    }
    page.route(
        "**/cost?*",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    viewer.open()
    expect(page.locator("#trouble")).to_contain_text("MongoDB did not answer in time.")
    # What has been answered is shown.
    expect(page.locator("#gpu-rows tr")).to_have_count(9)
    page.unroute("**/cost?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#cost")).to_contain_text("$")
    expect(page.locator("#trouble")).to_be_hidden()


def test_a_server_that_is_gone_leaves_the_numbers(view: View) -> None:
    viewer = view().open()
    page = viewer.page
    page.context.set_offline(True)
    page.get_by_role("link", name="Today").click()
    expect(page.locator("#trouble")).to_contain_text("The server cannot be reached.")
    expect(page.locator("#cost")).to_contain_text("$")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")


# The address


def test_the_address_says_what_is_shown_and_back_goes_back(view: View) -> None:
    viewer = view().open()
    page = viewer.page
    page.get_by_role("link", name="Today").click()
    viewer.wait()
    page.locator("#group").select_option("team")
    expect(page.locator("#groups-title")).to_have_text("By team")
    page.locator("#step").select_option("day")
    expect(page.locator("#shown")).to_contain_text("by day")
    assert page.url.endswith("?range=today&group=team&step=day")
    other = view().open(f"?{page.url.split('?')[1]}")
    assert [row[0] for row in other.numbers()["groups"]] == ["search", "support", "research", "not named"]
    expect(other.page.locator("#shown")).to_contain_text("by day")
    for _ in range(3):
        page.go_back()
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    expect(page.locator("#groups-title")).to_have_text("By model")


def test_a_custom_range_has_both_its_days(view: View) -> None:
    viewer = view().open()
    page = viewer.page
    page.get_by_role("link", name="Custom").click()
    page.get_by_label("First day").fill("2026-01-03")
    page.get_by_label("Last day").fill("2026-01-02")
    page.locator("#custom button").click()
    assert page.locator("#last").evaluate("input => input.validationMessage") == (
        "The last day lies before the first one."
    )
    page.get_by_label("Last day").fill("2026-01-04")
    page.locator("#custom button").click()
    expect(page.locator("#shown")).to_contain_text("3 Jan 2026 to 4 Jan 2026 UTC, by hour")
    assert page.url.endswith("?range=custom&group=model&start=2026-01-03&end=2026-01-04")


# Keyboard


def test_all_controls_are_reached_by_keyboard_and_their_focus_is_seen(view: View) -> None:
    page = view().open().page
    page.locator("#chart canvas").wait_for()
    wanted = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']")]
              .filter(one => one.checkVisibility() && !one.closest("[hidden]")).length"""
    )
    reached: list[str] = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
              const one = document.activeElement;
              return [one.id || one.textContent.trim() || one.className, getComputedStyle(one).outlineStyle];
            }"""
        )
        assert outline == "solid", name
        reached.append(name)
    assert reached[0] == "Skip to the numbers"
    assert {"Today", "group", "step", "csv", "chart", "The same as a table", "forget"} <= set(reached)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.body")


def test_the_chart_is_read_with_the_arrow_keys(view: View) -> None:
    page = view().open("?range=7d").page
    chart, title = page.locator("#chart"), page.locator("#readout-title")
    page.locator("#chart canvas").wait_for()
    expect(title).to_have_text("The whole range:")
    chart.focus()
    page.keyboard.press("End")
    last = title.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(title).not_to_have_text(last)
    expect(chart).to_have_attribute("aria-valuenow", "5")
    said = chart.get_attribute("aria-valuetext") or ""
    assert said.startswith(title.inner_text())
    assert "llama-3-70b $" in said
    page.keyboard.press("Escape")
    expect(title).to_have_text("The whole range:")


# Live


def send_usage(site: Site, tokens: int) -> None:
    now = datetime.now(UTC)
    event = {"ts": now.isoformat(), "model": "llama-3-70b", "deployment": "chat", "team": "search"}
    site.kafka.send(TOPIC_TOKEN, {**event, "prompt_tokens": tokens, "completion_tokens": 0})


def test_what_is_new_comes_by_itself_and_moves_nothing(view: View, site: Site) -> None:
    viewer = view().open("?range=today")
    page = viewer.page
    expect(page.locator("#live")).to_have_text("live")
    viewer.must_show_the_answers()
    before = page.locator("#tokens").get_attribute("value")
    page.evaluate(
        """() => {
          const rows = [...document.querySelectorAll("#group-rows tr")];
          const row = rows.find(row => row.innerText.startsWith("embed-a"));
          window.kept = [...rows, ...document.querySelectorAll("#gpu-rows tr, #legend li, #chart canvas")];
          document.querySelector("#gpus-title").scrollIntoView();
          getSelection().selectAllChildren(row.cells[0]);
          document.getElementById("csv").focus({preventScroll: true});
          window.was = [scrollY, String(getSelection())];
        }"""
    )
    send_usage(site, 12_345_678)
    expect(page.locator("#tokens")).not_to_have_attribute("value", before or "")
    viewer.must_show_the_answers()
    assert page.evaluate("kept.every(one => one.isConnected)")
    assert page.evaluate("[scrollY, String(getSelection())]") == page.evaluate("was")
    assert page.evaluate("document.activeElement.id") == "csv"
    assert viewer.complaints == []


def test_what_somebody_has_selected_is_left_until_he_lets_go(view: View, site: Site) -> None:
    viewer = view().open("?range=today")
    page = viewer.page
    viewer.must_show_the_answers()
    selected = page.locator("#tokens")
    selected.evaluate("one => getSelection().selectAllChildren(one)")
    text = selected.inner_text()
    send_usage(site, 1_000_000)
    expect(page.locator("#requests")).not_to_have_text(page.locator("#requests").inner_text())
    assert selected.inner_text() == text
    assert page.evaluate("String(getSelection())") == text
    page.evaluate("getSelection().removeAllRanges()")
    send_usage(site, 1_000_000)
    expect(selected).not_to_have_text(text)


def test_without_a_stream_it_asks(view: View, site: Site) -> None:
    viewer = view()
    page = viewer.page
    page.route("**/events", lambda route: route.abort())
    viewer.open("?range=today")
    expect(page.locator("#live")).to_have_text("asks every 10 s")
    before = page.locator("#tokens").get_attribute("value")
    send_usage(site, 1_000_000)
    expect(page.locator("#tokens")).not_to_have_attribute("value", before or "")
    page.unroute("**/events")
    expect(page.locator("#live")).to_have_text("live")
