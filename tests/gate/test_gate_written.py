"""What the gate writes stays inert, whatever models, tasks and outputs are called."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unimm_eval import evaluate
from unimm_eval.engine.compare import compare_loaded
from unimm_eval.engine.published import load_side
from unimm_eval.gate import run_gate, summary_lines, write_outcome
from unimm_eval.report.compare_page import render_comparison

NASTY = "`|x|` <img src=x onerror=alert(1)> \x1b]8;;http://x\x07 @all\n# h\r[a](b) ]]> ￿\ud800 "


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "plugin")
        for name, seed in (("a", 0), ("b", 1)):
            evaluate("fake", ["colours:mini"], seed=seed, limit=60, output=folder / name)
    return folder


@pytest.fixture
def sides(made, plugin):
    return made / "a", made / "b"


@pytest.fixture
def outcome(sides):
    real = run_gate(sides[1], sides[0])
    named = dataclasses.replace(real.run, model=NASTY + "x" * 1_000_000)
    (task,) = real.tasks
    tasks = (dataclasses.replace(task, task=NASTY, metric=NASTY + "y" * 1_000_000),)
    return dataclasses.replace(
        real, run=named, tasks=tasks, setup=(NASTY,), not_gated=(NASTY, NASTY)
    )


def test_markdown_keeps_foreign_text_in_code_spans(outcome):
    lines = list(summary_lines(outcome))
    assert len("\n".join(lines)) < 4_000
    assert not any(mark in "".join(lines) for mark in "\x1b\x07\r\ud800")
    for line in lines:
        outside = "".join(line.split("`")[::2])
        assert line.count("`") % 2 == 0
        assert not any(sign in outside for sign in ("<img", "@all", "](", "http"))
    rows = [line for line in lines if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_junit_and_json_are_whole_and_small(outcome, tmp_path):
    write_outcome(outcome, tmp_path / "gate", step_summary=tmp_path / "steps.md")
    suite = ET.parse(tmp_path / "gate" / "junit.xml").getroot()
    (case,) = suite.iter("testcase")
    assert "<img src=x onerror=alert(1)>" in case.get("name")
    assert "\x1b" not in case.get("name")
    assert (tmp_path / "gate" / "junit.xml").stat().st_size < 4_000
    document = json.loads((tmp_path / "gate" / "gate.json").read_bytes())
    assert document["tasks"][0]["task"] == NASTY
    assert (tmp_path / "gate" / "gate.json").read_bytes().isascii()


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_of_a_comparison_is_inert(sides):
    first, second = (load_side(side) for side in sides)
    comparison = compare_loaded(first, second)
    model = dataclasses.replace(comparison.a, model=NASTY, folder=NASTY, fingerprint=NASTY)
    task = comparison.tasks[0]
    metrics = tuple(dataclasses.replace(row, metric=NASTY, unit=NASTY) for row in task.metrics)
    huge = dataclasses.replace(task.samples.most[0], prompt="<b>" * 350_000, said_a=NASTY)
    samples = dataclasses.replace(task.samples, score=NASTY, most=(huge, *task.samples.most[1:]))
    page = render_comparison(
        dataclasses.replace(
            comparison,
            a=model,
            setup=(NASTY,),
            only_in_a=(NASTY,),
            tasks=(dataclasses.replace(task, metrics=metrics, samples=samples),),
        ),
        first,
        second,
    )
    assert not any(mark in page for mark in "\x1b\x07\r\ud800\u202e")
    assert len(page) < 500_000
    elements = Elements(page).found
    assert {"img", "table", "li"} <= {tag for tag, _ in elements}
    assert not {"script", "iframe", "b", "form"} & {tag for tag, _ in elements}
    for tag, attributes in elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            link = attributes.get(name, "data:")
            assert link.startswith(("data:", "#")), (tag, link)
    policy = next(a["content"] for _, a in elements if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
