"""The site of records of which some are hostile and some are spoilt."""

import csv
import filecmp
import http.client
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from synthetic_records import drawn_rows, publish

from unimm_eval.api import Output, Picture, Sample, Score, UserError
from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program
from unimm_eval.leaderboard import build_site
from unimm_eval.leaderboard.render import POLICY
from unimm_eval.leaderboard.serve import make_server
from unimm_eval.leaderboard.site import Built

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


class Page(HTMLParser):
    """Elements with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if identity := dict(attrs).get("id"):
            assert identity not in self.ids, identity
            self.ids.add(identity)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages(built: Built) -> dict[Path, Page]:
    return {path: Page(path) for path in built.folder.rglob("*.html")}


def test_there_is_a_page_for_everything(built: Built, pages: dict[Path, Page]) -> None:
    names = {path.relative_to(built.folder).as_posix() for path in pages}
    assert {"index.html", "plots.html", "models.html", "tasks.html", "about.html"} <= names
    assert sum(name.startswith("models/") for name in names) == 4 + 2  # measured and reported
    assert sum(name.startswith("samples/") for name in names) == 12 + 12
    assert built.models == 4
    assert built.pages == len(pages)


def test_only_the_site_s_own_files_can_run(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
        assert policy == POLICY
        for script in page.all("script"):
            assert script.get("type") == "application/json" or "assets/" in (script["src"] or "")
        for tag, found in page.elements:
            assert not [a for a in found if a.startswith("on") or a == "style"], (path, tag)
        assert not page.all("style")


def test_every_link_leads_to_a_file_of_the_site(built: Built, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for _, found in page.elements:
            for name in ("href", "src"):
                target = urlsplit(unquote(found.get(name) or ""))
                if target.scheme == "data" or not (target.path or target.fragment):
                    continue
                assert not target.scheme, (path, target)
                there = (path.parent / target.path).resolve() if target.path else path
                assert there.is_file(), (path, target)
                assert there.is_relative_to(built.folder)
                if target.fragment and there in pages:
                    assert target.fragment in pages[there].ids, (path, target)


def test_hostile_text_is_shown_not_obeyed(built: Built) -> None:
    for path in built.folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert not CONTROLS.search(text), path
        assert len(text) < 400_000, path  # a caption of a megabyte is cut
    index = (built.folder / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in index
    assert "{{7*7}}" in index  # and not 49
    sample = next((built.folder / "samples").glob("geneval-mini*/*.html"))
    assert "characters)" in sample.read_text(encoding="utf-8")


def test_what_is_left_out_is_named_with_the_reason(built: Built) -> None:
    reasons = {item.name: item.reason for item in built.left_out}
    about = (built.folder / "about.html").read_text(encoding="utf-8")
    for name, reason in (
        ("bad/cut.json", "ends in the middle"),
        ("bad/changed.json", "changed after it was written"),
        ("bad/newer.json", "schema version 99"),
        ("reported/wrong.yaml", "holds no reported rows"),
    ):
        assert reason in reasons[name]
        assert f"<code>{name}</code>" in about
    assert any(key.startswith("twice/") and "once more" in reasons[key] for key in reasons)
    assert any(
        key.startswith("spoilt/") and "cut off or changed" in reasons[key] for key in reasons
    )
    assert any(key.startswith("boast/") and "is mini" in reasons[key] for key in reasons)
    assert len(reasons) == 7
    assert "/tmp" not in about


def test_tables_say_what_they_are(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        names = [tag for tag, _ in page.elements]
        assert names.count("table") == names.count("caption"), path
        assert all(th.get("scope") for th in page.all("th")), path
    (index,) = [page for path, page in pages.items() if path.name == "index.html"]
    sorts = [th["aria-sort"] for th in index.all("th") if "aria-sort" in th]
    assert sorts.count("descending") == 2  # the official and the mini board, by wins
    badges = [span["class"] for span in index.all("span") if "badge" in (span.get("class") or "")]
    assert badges == ["badge official", "badge mini", "badge reported"]


def test_a_sample_has_the_answers_and_pictures_of_all_models(built: Built) -> None:
    for path in (built.folder / "samples").glob("geneval-mini*/*.html"):
        page = Page(path)
        assert sum((li.get("class") or "") == "answer" for li in page.all("li")) == 3
        images = page.all("img")
        assert len(images) == 3
        assert all(image["alt"] and image["class"] == "crisp" for image in images)


def test_a_picture_that_is_not_its_name_is_not_shown(tmp_path: Path, results: Path) -> None:
    path = publish(tmp_path / "r", "one", scores={"geneval:mini": drawn_rows(3, skill=0.0)})
    first, *_ = sorted(path.with_suffix("").rglob("*.png"))
    first.write_bytes(b"<svg onload=alert(1)>")
    built = build_site(tmp_path / "r", tmp_path / "site")
    assert [item.name for item in built.left_out] == [f"one/{path.name}"]  # it does not belong


def test_scores_of_odd_kinds_are_shown_as_text(tmp_path: Path) -> None:
    odd = (
        Sample(id="1", inputs={"prompt": 5, "tag": ["x"]}, cluster="c"),
        Output(sample_id="1", values={"answer": {"a": None}}),
        Score(sample_id="1", unscored="<b>down</b>", payload={"details": 7}),
    )
    stray = Output(
        sample_id="2",
        media={"picture": Picture(path=Path("passwd"), array=np.zeros((2, 2, 3), np.uint8))},
    )
    rows = [odd, (Sample(id="2", inputs={}, cluster="c"), stray, Score(sample_id="2"))]
    path = publish(tmp_path / "r", "odd", scores={"geneval:mini": rows})
    shutil.rmtree(path.with_suffix("") / "media")
    built = build_site(tmp_path / "r", tmp_path / "site")
    assert built.left_out == ()
    text = "".join(p.read_text(encoding="utf-8") for p in built.folder.glob("samples/*/*.html"))
    assert "&lt;b&gt;down&lt;/b&gt;" in text
    assert "<b>down" not in text
    assert not (built.folder / "media").exists()


def test_exports_are_inert_in_every_language(built: Built) -> None:
    folder = built.folder / "exports"
    for name in ("official.csv", "mini.csv", "reported.csv", "results.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert len({len(row) for row in rows}) == 1
        for field in (field for row in rows for field in row):
            assert not re.match(r"[\s\"']*[=+@-]", field) or _is_number(field) or field[0] == "'"
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not CONTROLS.search(text.replace("\r\n", "\n")), path
    tex = (folder / "mini.tex").read_text(encoding="utf-8")
    assert r"\input" not in tex.replace(r"\textbackslash{}input", "")
    assert r"\textbf{" in tex
    assert tex.count("{") == tex.count("}")
    markdown = (folder / "mini.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert len({line.count("|") for line in markdown.splitlines()[2:]}) == 1
    bib = (folder / "references.bib").read_text(encoding="utf-8")
    assert bib.count("@misc{") == 4 + 1
    assert len(re.findall(r"(?<!\\)\{", bib)) == len(re.findall(r"(?<!\\)\}", bib))


def test_equal_results_give_equal_files(results: Path, built: Built, tmp_path: Path) -> None:
    again = build_site(results, tmp_path / "site")
    names = [str(p.relative_to(built.folder)) for p in built.folder.rglob("*") if p.is_file()]
    _, different, missing = filecmp.cmpfiles(built.folder, again.folder, names, shallow=False)
    assert (different, missing) == ([], [])


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError, match="is no leaderboard"):
        build_site(tmp_path / "results", tmp_path / "mine")
    with pytest.raises(UserError, match="not a folder of results"):
        build_site(tmp_path / "nowhere", tmp_path / "site")
    first = build_site(tmp_path / "results", tmp_path / "site")
    assert first.models == 0
    assert "No results yet" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    build_site(tmp_path / "results", tmp_path / "site")


def test_the_command_names_what_it_left_out_and_ends_with_3(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["leaderboard", "build", "--results", str(results), "--output"]
    assert run_program(app, [*arguments, str(tmp_path / "site")]) == 3
    ended = capsys.readouterr()
    assert "4 models" in ended.out
    assert ended.err.count("left out: ") == 7
    assert not CONTROLS.search(ended.out + ended.err)


def test_the_preview_is_for_this_machine_alone(built: Built) -> None:
    with make_server(built.folder, port=0) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, status in (("127.0.0.1", 200), ("localhost", 200), ("evil.example", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", int(port))
            connection.request("GET", "/index.html", headers={"Host": f"{name}:{port}"})
            answer = connection.getresponse()
            assert answer.status == status
            assert answer.getheader("X-Content-Type-Options") == "nosniff"
            connection.close()
        with pytest.raises(UserError, match="cannot be used"):
            make_server(built.folder, port=int(port))
        server.shutdown()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
