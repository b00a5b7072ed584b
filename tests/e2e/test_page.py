"""The page of the converged site, in Chromium, over events that keep coming."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from testing.page import THEMES, WIDTHS, Theme, Viewer, chromium

pytestmark = pytest.mark.usefixtures("converged")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("group", ["model", "deployment", "team", "gpu"])
def test_every_number_is_the_apis(group: str, browser: Browser, api: str, token: str) -> None:
    viewer = Viewer(browser, api, token).open(f"?range=today&group={group}")
    viewer.page.get_by_text("The same as a table").click()
    viewer.must_show_the_answers()
    assert viewer.numbers()["gpus"] != []
    assert viewer.complaints == []
    viewer.close()


def test_it_is_live(browser: Browser, api: str, token: str) -> None:
    viewer = Viewer(browser, api, token).open("?range=today")
    expect(viewer.page.locator("#live")).to_have_text("live")
    expect(viewer.page.locator("#health")).to_have_text("healthy")
    cost = viewer.page.locator("#cost")
    expect(cost).not_to_have_attribute("value", cost.get_attribute("value") or "")
    viewer.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_nothing_is_complained_of(
    theme: Theme, width: int, browser: Browser, api: str, token: str
) -> None:
    viewer = Viewer(browser, api, token, theme, width).open("?range=hour")
    assert viewer.is_as_wide_as_the_window()
    assert viewer.complaints == []
    viewer.close()


def test_nothing_is_shown_without_the_token(browser: Browser, api: str) -> None:
    viewer = Viewer(browser, api)
    viewer.page.goto(api)
    expect(viewer.page.get_by_label("API token")).to_be_focused()
    expect(viewer.page.locator("#numbers")).to_be_hidden()
    viewer.close()
