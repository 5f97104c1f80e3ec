"""Five tasks of lm-eval's five kinds, as its users write them: YAML and local JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

COLOURS = ("red", "green", "blue", "grey")
SHAPES = ("circle", "square", "triangle", "star", "cross")


def write_tasks(folder: Path, *, answer_to: Callable[[str], str] = str) -> Path:
    """Write rows and YAML; `folder` is the include_path. `answer_to` gives the right answer of
    every other prompt that is to be continued."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "question": f"What colour is {shape} {number}?",
            "options": [f"a {colour} one" for colour in COLOURS[: 3 + number % 2]],
            "answer": (number * 7) % 3,
            "passage": f"p{number // 3}",
        }
        for number, shape in enumerate(SHAPES * 5)
    ]
    _write(folder, "choice", rows[:17])
    _write(folder, "choice_train", rows[17:])
    _write(folder, "choice_other", [row | {"question": row["question"][5:]} for row in rows[:9]])
    _write(folder, "last", [{"text": f"the {c} {s}"} for c in COLOURS for s in SHAPES])
    _write(folder, "pages", [{"page": f"{s} and {s}s are {c}. " * 9} for c, s in _pairs(7)])
    asked = [f"{a} + {a}" for a in range(11)]
    answers = [answer_to(f"{q} =") if a % 2 else str(2 * a) for a, q in enumerate(asked)]
    _write(folder, "sums", [{"q": q, "a": a} for q, a in zip(asked, answers, strict=True)])
    bad = [dict(row) for row in rows[:6]]
    bad[2]["options"] = None
    bad[3]["answer"] = None
    bad[4]["options"] = ["a red one", "so very " * 99 + "red", "a blue one"]
    bad[5]["question"] = "What colour is the circle that was seen before it? " * 20
    _write(folder, "bad", bad)
    choice = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "answer",
        "metric_list": [_mean("acc"), _mean("acc_norm")],
        "metadata": {"version": 1.0},
    }
    files = _files(folder, "choice", train="choice_train")
    shots = {"num_fewshot": 2, "fewshot_split": "train", "training_split": "train"}
    _task(folder, "tiny_choice", **choice, **files, **shots)
    _task(folder, "tiny_bad", **choice, **_files(folder, "bad"))
    _task(folder, "tiny_other", **choice, **_files(folder, "choice_other"))
    _task(
        folder,
        "tiny_last",
        output_type="loglikelihood",
        doc_to_text="{{text.split(' ')[:-1]|join(' ')}}",
        doc_to_target="{{' '+text.split(' ')[-1]}}",
        metric_list=[
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            _mean("acc"),
        ],
        **_files(folder, "last"),
    )
    _task(
        folder,
        "tiny_pages",
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="page",
        metric_list=[
            {"metric": "word_perplexity"},
            {"metric": "byte_perplexity"},
            {"metric": "bits_per_byte"},
        ],
        **_files(folder, "pages"),
    )
    sums = {
        "output_type": "generate_until",
        "doc_to_text": "{{q}} =",
        "doc_to_target": "{{a}}",
        "metric_list": [_mean("exact_match")],
        **_files(folder, "sums"),
    }
    kwargs = {"until": ["\n", "."], "max_gen_toks": 12, "do_sample": False}
    number = {"function": "regex", "regex_pattern": "([a-z]+)", "group_select": -1}
    _task(
        folder,
        "tiny_sums",
        **sums,
        generation_kwargs=kwargs,
        filter_list=[
            {"name": "strict-match", "filter": [{"function": "take_first"}]},
            {"name": "flexible-extract", "filter": [number, {"function": "take_first"}]},
        ],
    )
    _task(
        folder,
        "tiny_votes",
        **sums,
        repeats=3,
        generation_kwargs={"until": [], "max_gen_toks": 5, "do_sample": True, "temperature": 2.0},
        filter_list=[
            {
                "name": "maj@3",
                "filter": [
                    {"function": "take_first_k", "k": 3},
                    number | {"group_select": 0},
                    {"function": "majority_vote"},
                    {"function": "take_first"},
                ],
            }
        ],
    )
    _task(folder, "tiny_silent", **sums, generation_kwargs={"max_gen_toks": 4})
    group = {
        "group": "tiny_group",
        "task": ["tiny_choice", "tiny_other"],
        "aggregate_metric_list": [
            {"metric": "acc", "weight_by_size": True},
            {"metric": "acc_norm", "weight_by_size": False},
        ],
        "metadata": {"version": 1.0},
    }
    (folder / "tiny_group.yaml").write_text(yaml.safe_dump(group))
    return folder


def _pairs(count: int) -> list[tuple[str, str]]:
    return [(c, s) for c in COLOURS for s in SHAPES][:count]


def _mean(metric: str) -> dict:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def _files(folder: Path, test: str, **others: str) -> dict:
    paths = {split: str(folder / f"{name}.json") for split, name in others.items()}
    return {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{test}.json"), **paths}},
        "test_split": "test",
    }


def _write(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / f"{name}.json").write_text("\n".join(json.dumps(row) for row in rows))


def _task(folder: Path, name: str, **config: object) -> None:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **config}))
