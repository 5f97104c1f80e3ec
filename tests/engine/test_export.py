"""What a task exports lies in the run's folder, linked, the same after every summary."""

import json

import pytest
from engine_fakes import Draw, FakeModel

from unimm_eval import evaluate
from unimm_eval.api import DefectError, Picture
from unimm_eval.engine.export import checked, write_exports


class Exporting(Draw):
    def export(self, rows):
        for sample, output, score in rows:
            yield f"{sample.id}/{output.repeat}.png", output.media["picture"]
            yield f"{sample.id}/score.json", json.dumps(dict(score.values)).encode()


class Straying(Draw):
    def export(self, rows):
        yield "../elsewhere", b""


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_exports_lie_beside_the_results(tmp_path):
    for _ in range(2):
        evaluate(FakeModel(), [Exporting("draw")], output=tmp_path / "run", limit=3)
        found = tree(tmp_path / "run" / "exports" / "draw")
        assert len(found) == 3 * (2 + 1)
    pictures = [data for name, data in found.items() if name.endswith(".png")]
    assert sorted(pictures) == sorted(tree(tmp_path / "run" / "media").values())
    linked = next((tmp_path / "run" / "exports").rglob("*.png"))
    assert linked.stat().st_nlink == 2


def test_a_task_without_exports_leaves_no_folder(tmp_path):
    evaluate(FakeModel(), [Draw("draw")], output=tmp_path / "run", limit=1)
    assert not (tmp_path / "run" / "exports").exists()


def test_a_name_that_leads_out_is_a_defect(tmp_path):
    for name in ("../x", "/x", "a/../../x", ""):
        with pytest.raises(ValueError, match="not the name of a file"):
            list(checked([(name, b"")]))
    with pytest.raises(DefectError, match="elsewhere"):
        evaluate(FakeModel(), [Straying("draw")], output=tmp_path / "run", limit=1)


def test_a_changed_picture_is_linked_anew(tmp_path):
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    for source in (old, new):
        write_exports(tmp_path / "out", [("a/b.png", Picture(path=source))])
    assert (tmp_path / "out/a/b.png").read_bytes() == b"new"
    assert old.read_bytes() == b"old"
