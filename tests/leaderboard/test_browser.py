"""The site in Chromium, from files and without a network, as a person uses it."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unimm_eval.leaderboard.site import Built

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
DRIVER = shutil.which("chromedriver") or ""

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (apt: chromium-driver)"
)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    downloads = str(tmp_path_factory.mktemp("downloads"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")  # nothing is to be fetched
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = Path(downloads)  # type: ignore[attr-defined]
    driver.set_window_size(1440, 1000)
    driver.set_script_timeout(300)  # seconds; axe is slow on a machine that does other work
    yield driver
    driver.quit()


@pytest.fixture
def page(chrome: "Chrome", built: Built) -> Iterator["Page"]:
    """The first page; nothing may be said on the console while a test runs."""
    chrome.get("about:blank")
    chrome.get_log("browser")
    opened = Page(chrome, built.folder)
    opened.open("index.html")
    yield opened
    assert chrome.get_log("browser") == []


class Page:
    """What a person sees and does."""

    def __init__(self, chrome: "Chrome", folder: Path) -> None:
        self.chrome = chrome
        self.folder = folder

    def open(self, path: str) -> None:
        self.chrome.get("about:blank")
        self.chrome.get(f"file://{self.folder}/{path}")

    def all(self, css: str) -> list["WebElement"]:
        return self.chrome.find_elements("css selector", css)

    def one(self, css: str) -> "WebElement":
        return self.chrome.find_element("css selector", css)

    def run(self, script: str, *values: Any) -> Any:
        return self.chrome.execute_script(script, *values)

    def names(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('.board:not([hidden]) tbody th a')]"
            ".map((a) => a.textContent)"
        )

    def column(self, index: int) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('.board:not([hidden]) tbody tr')]"
            ".map((tr) => tr.children[arguments[0]].querySelector('b')?.textContent ?? '')",
            index,
        )

    def hash(self) -> str:
        return self.run("return location.hash")

    def violations(self) -> list[str]:
        """What axe calls serious or critical."""
        from axe_core_python.selenium import Axe

        found = Axe().run(self.chrome)["violations"]
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:200]} ({len(each['nodes'])})"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]


def test_the_script_draws_what_the_page_came_with(page: Page) -> None:
    drawn = page.run(
        "return [...document.querySelectorAll('.board:not([hidden]) :is(thead, tbody)')]"
        ".map((part) => part.innerHTML)"
    )
    text = (page.folder / "index.html").read_text(encoding="utf-8")
    kept = re.search(r'<section class="board" id="board-official".*?</section>', text, re.DOTALL)
    assert kept is not None
    for part, html in zip(("thead", "tbody"), drawn, strict=True):
        came = re.search(rf"<{part}>(.*?)</{part}>", kept[0], re.DOTALL)
        assert came is not None
        assert _plain(came[1]) == _plain(html)


def test_every_column_sorts_best_first_and_back(page: Page) -> None:
    page.one("[name=board][value=mini]").send_keys(" ")
    keys = [
        button.get_attribute("data-sort") for button in page.all("#board-mini thead [data-sort]")
    ]
    assert len(keys) == 3 + 7
    for index, key in enumerate(keys, start=1):
        css = f'#board-mini [data-sort="{key}"]'
        page.one(css).click()
        ordered = page.names()
        header = page.one(f'#board-mini th:has([data-sort="{key}"])')
        first = header.get_attribute("aria-sort")
        assert first in ("ascending", "descending")
        if index > 3:
            values = [float(text) for text in page.column(index) if text]
            assert values == sorted(values, reverse=first == "descending")
            lower = "↓" in header.text
            assert first == ("ascending" if lower else "descending")
        page.one(css).click()
        again = page.one(f'#board-mini th:has([data-sort="{key}"])').get_attribute("aria-sort")
        assert {first, again} == {"ascending", "descending"}
        cells = page.column(index)
        if "" not in cells and len(set(cells)) == len(ordered):  # what is missing is always last
            assert page.names() == ordered[::-1]
        active = page.run("return document.activeElement.dataset.sort")
        assert active == key  # the keyboard stays where it was


def test_filters_and_search_narrow_the_rows(page: Page) -> None:
    page.one("[name=board][value=mini]").send_keys(" ")
    assert len(page.names()) == 4
    page.one("[name=find]").send_keys("DENSE")
    assert page.names() == ["dense"]
    assert "1 model" not in page.one(".count").text or "1 of 4" in page.one(".count").text
    page.run("document.querySelector('[name=find]').value = ''")
    page.one("[name=find]").send_keys(" ")
    page.one("[name=complete]").click()
    assert "untrained" not in page.names()
    page.one("[name=errors]").click()
    assert not [small for small in page.all("#board-mini tbody .num small") if small.is_displayed()]


def test_a_permalink_opens_the_same_view(page: Page) -> None:
    page.one("[name=board][value=mini]").send_keys(" ")
    page.one("[name=preset][value=generation]").send_keys(" ")
    page.one('#board-mini [data-sort^="geneval:mini@"]').click()
    page.one("[name=find]").send_keys("de")
    names, address = page.names(), page.hash()
    columns = len(page.all("#board-mini .metrics th"))
    assert columns > 20
    page.open(f"index.html{address}")
    assert page.names() == names
    assert len(page.all("#board-mini .metrics th")) == columns
    assert page.one("[name=find]").get_attribute("value") == "de"
    page.run("location.hash = ''")
    page.run("return new Promise((done) => setTimeout(done, 50))")
    assert page.one("[name=board][value=official]").is_selected()


def test_a_group_opens_to_all_of_its_metrics(page: Page) -> None:
    page.one("[name=board][value=mini]").send_keys(" ")
    css = '#board-mini .open[data-open^="geneval:mini@"]'
    assert page.one(css).get_attribute("aria-expanded") == "false"
    page.one(css).click()
    assert page.one(css).get_attribute("aria-expanded") == "true"
    assert len(page.all("#board-mini .metrics th")) == 7 + 9
    page.one(css).click()
    assert len(page.all("#board-mini .metrics th")) == 7


def test_a_sample_is_reached_from_a_model(page: Page) -> None:
    page.one("#board-official tbody th a").click()
    assert "/models/" in page.chrome.current_url
    page.one(".samples a.sample").click()
    assert "/samples/" in page.chrome.current_url
    assert page.run("return document.querySelector(':target')?.className") == "answer"
    loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth)"
    assert page.run(loaded)
    page.one("[rel=next]").click()
    assert "sample 2 of" in page.one(".crumbs").text


def test_dark_mode_is_toggled_and_remembered(page: Page) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(colour)
    page.one("button.theme").click()
    dark = page.run(colour)
    assert light != dark
    assert page.one("button.theme").get_attribute("aria-pressed") == "true"
    page.open("about.html")
    assert page.run(colour) == dark
    page.one("button.theme").click()
    assert page.run(colour) == light


def test_the_view_is_exported_as_inert_csv(page: Page) -> None:
    page.one("[name=board][value=reported]").send_keys(" ")
    page.one(".export").click()
    path = page.chrome.downloads / "leaderboard-reported.csv"  # type: ignore[attr-defined]
    for _ in range(100):
        if path.exists():
            break
        page.run("return new Promise((done) => setTimeout(done, 50))")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == ["Emu", "'=1+1 <img src=x>"]
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, theme: str) -> None:
    page.run("localStorage.setItem('theme', arguments[0])", theme)
    samples, models, tasks = (
        str(next(page.folder.glob(glob)).relative_to(page.folder))
        for glob in ("samples/vqa16-mini*/*.html", "models/demo*.html", "tasks/geneval-mini*.html")
    )
    pages = ["index.html", "index.html#board=mini&preset=generation", samples, models]
    if theme == "light":
        pages += ["index.html#board=reported", tasks, "plots.html", "models.html", "about.html"]
    for path in pages:
        page.open(path)
        assert page.violations() == [], path
    page.run("localStorage.removeItem('theme')")


def test_a_phone_sees_no_page_wider_than_itself(page: Page) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        first = {path.parent.name: path for path in page.folder.rglob("*.html")}
        for path in ["index.html", "plots.html", *first.values()]:
            page.open(str(Path(path).relative_to(page.folder)) if isinstance(path, Path) else path)
            assert page.run("return document.documentElement.scrollWidth") <= 390, path
        page.open("index.html")
        assert not page.one(".presets").is_displayed()  # filters are folded away
        assert len(page.names()) == 3
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _plain(html: str) -> str:
    """Markup without what two writers of it may do differently: space between tags, quoting."""
    text = re.sub(r"\s+", " ", html)
    text = re.sub(r"> | <", lambda match: match[0].strip(), text)
    for name, letter in (("&#34;", '"'), ("&quot;", '"'), ("&#39;", "'")):
        text = text.replace(name, letter)
    return json.dumps(text.replace(' hidden=""', " hidden"))
