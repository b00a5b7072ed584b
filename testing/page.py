"""The page in Chromium, and its numbers beside the API's: for tests of the processor and of the site."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, ViewportSize, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

Theme = Literal["light", "dark", "forced"]
Json = dict[str, Any]

THEMES: tuple[Theme, ...] = ("light", "dark", "forced")
WIDTHS = (360, 768, 1280)
# All cores may be busy with other tests.
_WAIT_MS = 90_000
_SAME_SECONDS = 60.0
_LOOK_MS = 100
_HEIGHT = 900

_TRIES = 5
_UNAVAILABLE = 503
_BUSY = f"the server responded with a status of {_UNAVAILABLE}"

_NOTHING = "\N{EN DASH}"

# All numbers of the page: each as the API gave it, and as it is read.
_NUMBERS = """() => {
  const number = data => [data.value, data.textContent];
  const read = cell => cell.querySelector("data") ? number(cell.querySelector("data")) : cell.textContent;
  const rows = id => [...document.querySelectorAll(`#${id} > tr`)].map(tr => [...tr.cells].map(read));
  const ids = ["cost", "million", "tokens", "requests", "loaded", "fleet", "unreported"];
  return {
    tiles: Object.fromEntries(ids.map(id => [id, number(document.getElementById(id))])),
    groups: rows("group-rows"), ends: rows("group-ends"), classes: rows("class-rows"),
    times: rows("time-rows").map(([, ...line]) => line),
    gpus: rows("gpu-rows"), refused: rows("refused-rows"),
    legend: [...document.querySelectorAll("#legend li")].map(li =>
      [li.title, number(li.querySelector("data"))]),
    budgets: [...document.querySelectorAll("#budgets > li")].map(li =>
      [li.querySelector(".name").textContent, ...[...li.querySelectorAll("data")].map(number)]),
    coverage: document.getElementById("coverage").textContent,
  };
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a window. While it runs, nothing else in this thread can use asyncio."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed: make setup-lab does it")
    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        # Its sandbox refuses root, and it only sees pages of this project.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Viewer:
    """One who looks at the page, and hears whatever the browser complains of."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        token: str = "",
        theme: Theme = "light",
        width: int = 1280,
    ) -> None:
        self.url = url
        self._context = browser.new_context(
            viewport=ViewportSize(width=width, height=_HEIGHT),
            color_scheme="dark" if theme == "dark" else "light",
            forced_colors="active" if theme == "forced" else "none",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(_WAIT_MS)
        self.complaints: list[str] = []
        self._answers: dict[str, Response] = {}
        self._is_refused = False
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", self._keep)
        if token:
            self.page.add_init_script(f"sessionStorage.setItem('token', {json.dumps(token)})")

    def open(self, search: str = "") -> Viewer:
        """The page, once it shows its numbers. A busy machine may refuse some questions: then once more."""
        for _ in range(_TRIES):
            self._is_refused = False
            self.page.goto(f"{self.url}/{search}")
            self.wait()
            if not self._is_refused:
                break
        return self

    def wait(self) -> None:
        """Until the page shows what it was asked for."""
        expect(self.page.locator("#content")).to_have_attribute("aria-busy", "false")

    def close(self) -> None:
        """Look no more."""
        self._context.close()

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error" and _BUSY not in said.text:
            self.complaints.append(said.text)

    def _keep(self, response: Response) -> None:
        # /health answers so where something is wrong.
        if response.status == _UNAVAILABLE and urlsplit(response.url).path != "/health":
            self._is_refused = True
        if response.ok and response.headers.get("content-type") == "application/json":
            self._answers[_question(response.url)] = response

    def numbers(self) -> Json:
        """What the page shows."""
        found: Json = self.page.evaluate(_NUMBERS)
        return found

    def must_show_the_answers(self) -> None:
        """Each number is the API's, at its full length, and reads as it does to the digits shown."""
        deadline = time.monotonic() + _SAME_SECONDS
        # What is live may change between two looks.
        while differing := self._differing():
            assert time.monotonic() < deadline, differing
            self.page.wait_for_timeout(_LOOK_MS)

    def _differing(self) -> list[str]:
        shown = self.numbers()
        try:
            answers = {question: response.json() for question, response in self._answers.items()}
        except PlaywrightError:
            return ["the page has asked for something else meanwhile"]
        expected = _expected(answers)
        # The table under the chart has its lines once it is open.
        if not shown["times"]:
            expected["times"] = []
        for numbers in (shown, expected):
            # Rows stay where they are while the page is open, whatever they come to cost.
            numbers["groups"].sort(key=lambda row: str(row[0]))
        stacked, listed = _sum(shown["legend"]), _sum([*shown["groups"], *shown["ends"][:-1]])
        if stacked != listed:
            return [f"{stacked} USD are stacked, and {listed} listed"]
        return [line for name, part in expected.items() for line in _differences(name, shown[name], part)]

    def is_as_wide_as_the_window(self) -> bool:
        """Nothing lies outside: the page does not scroll sideways."""
        wide: bool = self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        return wide


def _question(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path} by step" if "step" in parse_qs(parts.query) else parts.path


# Names that the page gives what nobody used, by the API's.
_IDLE = {
    "loaded_usd": "Idle: deployments without tokens",
    "fleet_usd": "Idle: GPUs of no deployment",
    "unreported_usd": "Leased, not reported",
}


def _expected(answers: dict[str, Json]) -> Json:
    total, by_step = answers["/cost"], answers["/cost by step"]
    whole = total["total"]
    tokens, classes = whole["tokens"], whole["cost_usd_by_class"]
    return {
        "tiles": {
            "cost": whole["cost_usd"],
            "million": whole["cost_per_million_tokens_usd"],
            "tokens": tokens["total"],
            "requests": tokens["requests"],
            **{name.removesuffix("_usd"): total["idle"][name] for name in _IDLE},
        },
        "groups": [[_name(row), row["tokens"]["requests"], *_amounts(row)] for row in total["rows"]],
        "ends": [
            *([name, None, None, total["idle"][kind], None] for kind, name in _IDLE.items()),
            ["Total", tokens["requests"], *_amounts(whole)],
        ],
        "classes": [
            ["Uncached prompt", tokens["uncached_prompt"], classes["uncached_prompt"]],
            ["Cached prompt", tokens["cached_prompt"], classes["cached_prompt"]],
            ["Completion", tokens["completion"], classes["completion"]],
            ["of it reasoning", tokens["reasoning"], None],
            ["All", tokens["total"], None],
        ],
        "times": [line for step in by_step["steps"] for line in _lines(step, by_step["rows"])],
        "gpus": [
            (gpu["gpu_id"], "● reports" if gpu["reporting"] else "○ silent", gpu["name"] or _NOTHING)
            for gpu in answers["/gpu/info"]["items"]
        ],
        "refused": [
            (item["topic"], item["reason"], item["events"]) for item in answers["/dead-letters"]["items"]
        ],
        "budgets": [
            [one["name"], one["spent_usd"], one["limit_usd"], one["spent_share"]]
            for one in answers["/budgets"]["budgets"]
        ],
    }


def _lines(step: Json, rows: list[Json]) -> Iterator[list[Any]]:
    for row in rows:
        if row["start"] == step["start"]:
            yield [_name(row), *_amounts(row)]
    for kind, name in _IDLE.items():
        if step["idle"][kind]:
            yield [name, None, step["idle"][kind], None]
    yield ["Total", None, step["cost_usd"], None]


def _name(row: Json) -> str:
    (name,) = row["key"].values()
    return "not named" if name is None else str(name)


def _amounts(row: Json) -> list[Any]:
    return [row["tokens"]["total"], row["cost_usd"], row["cost_per_million_tokens_usd"]]


def _differences(place: str, shown: Any, expected: Any) -> Iterator[str]:
    """Numbers are shown as [value, text], all else as text. A tuple is the beginning of a row."""
    if isinstance(expected, dict):
        for name, part in expected.items():
            yield from _differences(f"{place} {name}", shown[name], part)
    elif isinstance(expected, list) and len(shown) != len(expected):
        yield f"{place}: {len(shown)} in the place of {len(expected)}"
    elif isinstance(expected, list | tuple):
        for at, part in enumerate(expected):
            yield from _differences(f"{place} {at}", shown[at], part)
    elif not _is_shown(shown, expected):
        yield f"{place}: {shown} in the place of {expected}"


def _is_shown(shown: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        return bool(shown == expected)
    value, text = shown
    if expected is None:
        return (value, text) == ("", _NOTHING)
    return bool(value) and float(value) == expected and _reads(text, expected)


def _reads(text: str, value: float) -> bool:
    """Whether the text is the value, rounded to the digits that it has."""
    scale = 100 if text.endswith(" %") else 1
    digits = text.strip("$ %").replace(",", "")
    _, _, decimals = digits.partition(".")
    return abs(float(digits) - value * scale) <= 0.5 * 10.0 ** -len(decimals) * (1 + 1e-9)


def _sum(rows: list[list[Any]]) -> Decimal:
    """What rows, or entries of the legend, cost in all, in whole units of 1e-12 USD."""
    costs = [row[1] if len(row) == 2 else row[3] for row in rows]
    return sum((Decimal(value or 0).quantize(Decimal("1e-12")) for value, _ in costs), Decimal(0))
