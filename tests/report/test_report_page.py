"""The page of a run whose every string is hostile: what it says, and that nothing gets out."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unimm_eval import evaluate
from unimm_eval.api import UserError
from unimm_eval.engine.run import RESULTS_FILE
from unimm_eval.report import build_report
from unimm_eval.report.charts import Curve, Series, curve_chart, log_ticks, ticks


class Page(HTMLParser):
    """Elements with their attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(plugin: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    evaluate("fake", ["colours:mini", "echo"], output=folder)
    return folder


@pytest.fixture
def html(run: Path) -> str:
    return build_report(run).read_text(encoding="utf-8")


def test_nothing_but_the_page_s_own_code_can_run(html: str) -> None:
    page = Page(html)
    (script,) = page.text["script"]
    (style,) = page.text["style"]
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy is not None
    assert "default-src 'none'" in policy
    for kind, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert not [
        a for _, found in page.elements for a in found if a.startswith("on") or a == "style"
    ]


def test_nothing_is_fetched(html: str) -> None:
    page = Page(html)
    targets = [
        v or "" for _, found in page.elements for k, v in found.items() if k in ("src", "href")
    ]
    assert targets
    assert all(target.startswith(("data:image/", "#")) for target in targets)
    assert not re.search(r"url\(|@import|https?://", html)


def test_hostile_text_is_shown_not_obeyed(html: str) -> None:
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>bold</b>" not in html
    assert "49" not in re.findall(r"alert\(2\) (\S+)", html)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)


def test_numbers_verdicts_and_settings_are_there(html: str, run: Path) -> None:
    page = Page(html)
    entries = [element for element in page.all("li") if "entry" in (element.get("class") or "")]
    verdicts = [entry["data-verdict"] for entry in entries]
    order = sorted(verdicts[:96], key=["wrong", "unscored", "shown", "right"].index)
    assert verdicts[:96] == order
    assert verdicts.count("unscored") == 2
    assert "96 of 120 outputs are shown, wrong ones first; 24 more are in the run folder" in html
    assert "0.589 to 1.000" in html
    assert "the judge was down" in html
    assert "hardware" in html or "processor" in html
    images = page.all("img")
    assert len(images) == 96
    assert all(image["class"] == "crisp" and image["alt"] for image in images)


def test_what_is_mini_says_so(html: str) -> None:
    assert html.count('class="badge mini"') == 4  # card, table, section, and the table's caption


def test_a_report_can_be_made_again_and_is_the_same(run: Path, html: str) -> None:
    assert build_report(run).read_text(encoding="utf-8") == html


def test_lost_pictures_do_not_cost_the_report(run: Path) -> None:
    for path in (run / "media").rglob("*.png"):
        path.unlink()
    assert "no picture:" in build_report(run).read_text(encoding="utf-8")


def test_an_unfinished_run_has_no_report(run: Path) -> None:
    (run / RESULTS_FILE).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        build_report(run)
    assert not (run / "report.html").exists()


def test_a_curve_escapes_its_labels_and_skips_what_is_not_finite() -> None:
    line = Series(name="model", x=[0.1, 0.5, 0.9], y=[1.0, float("nan"), 400.0])
    curve = Curve(title="<loss>", x_label="t & u", y_label="<y>", series=[line])
    svg = str(curve_chart(curve))
    assert "&lt;loss&gt;" in svg
    assert "<y>" not in svg
    assert "nan" not in svg
    assert svg.count("<circle") == 2


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 0.31), (-5, 1234), (2, 2), (0, 1e-9)])
def test_ticks_enclose_their_range_in_few_steps(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 8


@pytest.mark.parametrize(("low", "high"), [(0.2, 40), (1, 1000), (3e-4, 5e5)])
def test_log_ticks_enclose_their_range_in_few_steps(low: float, high: float) -> None:
    marks = log_ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 12
    assert marks == sorted(marks)
