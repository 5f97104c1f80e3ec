"""A site of four models of which one is hostile, built once."""

import shutil
from pathlib import Path

import pytest
from synthetic_records import MINI, answered_rows, drawn_rows, facts_of, publish

from unimm_eval.leaderboard import build_site
from unimm_eval.leaderboard.site import Built

HOSTILE = "<script>alert(1)</script>=cmd|' /C'!A0 \\input{x} $x_1^2$ [a](b) {{7*7}}"
LONG = f"{HOSTILE}\x1b[31m\u202e\r\n" + "z" * 1_000_000
REPORTED = """\
schema_version: 1
source: {name: "=Source <b>", title: Others, url: "https://example.org/x", revision: v1, year: 2025}
columns:
  overall: {task: geneval, metric: overall, direction: higher, range: [0, 1], protocol: their own}
  world: {task: geneval, metric: overall, direction: higher, range: [0, 1], protocol: another}
rows:
  - {model: "=1+1 <img src=x>", where: table 1, values: {overall: 0.5}}
  - {model: Emu, where: table 1, parameters: 8.0e+9, values: {overall: 0.6, world: 0.7}}
"""


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound records, and one of each kind that is not."""
    folder = tmp_path_factory.mktemp("published") / "results"
    models = ((HOSTILE, 0.9, "moe"), ("demo", 0.7, "moe"), ("dense", 0.5, "shared"))
    for index, (name, skill, kind) in enumerate(models):
        publish(
            folder,
            name,
            tasks=(*MINI, "vqa16:mini", "geneval"),
            skill=skill,
            facts=facts_of(4e6 * (index + 1), tokens=1e8 * (index + 1), feed_forward=kind),
            scores={
                "geneval:mini": drawn_rows(12, skill=skill, said=LONG, prompt=LONG),
                "vqa16:mini": answered_rows(12, skill=skill),
            },
        )
    publish(folder, "untrained", tasks=MINI, skill=0.05, facts=facts_of(4e6, tokens=1))
    (demo,) = (folder / "demo").glob("*.json")
    text = demo.read_text(encoding="utf-8")
    bad = folder / "bad"
    bad.mkdir()
    (bad / "cut.json").write_text(text[:3000], encoding="utf-8")
    (bad / "changed.json").write_text(text.replace('"n": 100', '"n": 999', 1), encoding="utf-8")
    newer = text.replace('"schema_version": 2', '"schema_version": 99')
    (bad / "newer.json").write_text(newer, encoding="utf-8")
    shutil.copytree(folder / "demo", folder / "twice")
    spoilt = publish(folder, "spoilt", scores={"geneval:mini": drawn_rows(4, skill=0.5)})
    for path in (spoilt.with_suffix("") / "samples").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    publish(folder, "boast", edit=lambda row: row.model_copy(update={"mini": False}))
    (folder / "reported").mkdir()
    (folder / "reported" / "others.yaml").write_text(REPORTED, encoding="utf-8")
    (folder / "reported" / "wrong.yaml").write_text("rows: 7", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def built(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_site(results, tmp_path_factory.mktemp("built") / "site")
