"""Small data sets in the official schemas, made of the embedded world: one function a benchmark
gives its rows. Pictures are PNG bytes as the hub's Parquet files hold them."""

import json

from unimm_eval.api import encode_png
from unimm_eval.tasks.vqa16.summaries import COGNITION, PERCEPTION
from unimm_eval.world import question_at, render


def picture(index, *, family="mmbench"):
    question = question_at(family=family, split="test", index=index)
    return {"bytes": encode_png(render(question.picture)), "path": None}


def mmbench():
    rows = []
    for index in range(3):
        for turn in range(4):
            options = ["red", "green", "blue", "cyan"]
            options = options[turn:] + options[:turn]
            rows.append(
                {
                    "index": index + 1_000_000 * turn,
                    "question": f"What colour is thing {index}?",
                    "hint": "nan" if index else "Look closely.",
                    **dict(zip("ABCD", options, strict=True)),
                    "answer": "ABCD"[options.index("red")],
                    "category": "attribute",
                    "source": "world",
                    "image": picture(index),
                }
            )
    return rows


def seed():
    rows = [
        {
            "question": f"How many things, {index}?",
            **{f"choice_{letter}": str(place) for place, letter in enumerate("abcd")},
            "answer": "ABCD"[index % 4],
            "question_type_id": index % 2,
            "image": [picture(index // 2)],
        }
        for index in range(6)
    ]
    film = {**rows[0], "image": [picture(0), picture(1)]}
    return [*rows, film]


CATEGORIES = (*PERCEPTION, *COGNITION)


def mme(pairs=2):
    return [
        {
            "question_id": f"{category}/{pair}.png",
            "question": f"Is it {answer}? Please answer yes or no.",
            "answer": answer,
            "category": category,
            "image": picture(pair + 10 * place),
        }
        for place, category in enumerate(CATEGORIES)
        for pair in range(pairs)
        for answer in ("Yes", "No")
    ]


def gqa():
    """Questions and, apart, pictures: four questions a picture, not next to each other."""
    questions = [
        {"question": f"What is it, {turn}?", "answer": "red", "imageId": f"n{number}"}
        for turn in range(4)
        for number in range(3)
    ]
    pictures = [{"id": f"n{number}", "image": picture(number)} for number in range(3)]
    return questions, pictures


def ai2d():
    return [
        {
            "question": f"What is linked, {index}?",
            "options": ["ring", "bar", "moon", "cross"],
            "answer": str(index % 4),
            "image": picture(index // 2),
        }
        for index in range(6)
    ]


def mathvista():
    shared = {"metadata": {"category": "general-vqa"}}
    choice = {
        **shared,
        "query": "Which is larger? Choices: (A) left (B) right",
        "question_type": "multi_choice",
        "choices": ["left", "right"],
        "answer": "right",
        "decoded_image": picture(0),
    }
    free = {
        **shared,
        "query": "How many? Integer answer.",
        "question_type": "free_form",
        "choices": None,
        "answer": "40",
        "decoded_image": picture(1),
    }
    return [choice, free]


def mmmu():
    shared = {"question": "<image 1> Which one?", "image_1": picture(0)}
    return [
        {
            **shared,
            "id": "validation_Art_1",
            "options": "['red', 'green', 'blue']",
            "answer": "B",
            "question_type": "multiple-choice",
        },
        {
            **shared,
            "id": "validation_Math_2",
            "options": "[]",
            "answer": "20",
            "question_type": "open",
        },
    ]


def sqa():
    rows = [
        {
            "question": f"Which is right, {index}?",
            "choices": ["yes it is", "no it is not"],
            "answer": index % 2,
            "hint": "A hint." if index else "",
            "grade": "grade3",
            "image": picture(index),
        }
        for index in range(4)
    ]
    return [*rows, {**rows[0], "image": None}]


def ocrbench():
    return [
        {
            "question": "what is written in the image?",
            "answer": ["Seven"],
            "question_type": "Regular Text Recognition",
            "image": picture(0, family="ocrbench"),
        },
        {
            "question": "Please write out the expression.",
            "answer": ["x ^ { 2 }"],
            "question_type": "Handwritten Mathematical Expression Recognition",
            "image": picture(1, family="ocrbench"),
        },
    ]


def textvqa():
    return [
        {
            "question": "what does it say?",
            "answers": ["stop"] * 4 + ["Stop."] * 3 + ["go"] * 2 + ["halt"],
            "ocr_tokens": ["STOP", "now"],
            "image": picture(index, family="textvqa"),
        }
        for index in range(3)
    ]


def chartqa():
    return [
        {"question": "How tall?", "answer": answer, "type": kind, "image": picture(index)}
        for index, (answer, kind) in enumerate(
            [("40", "human_test"), ("Norway", "human_test"), ("10%", "augmented_test")]
        )
    ]


def docvqa():
    return [
        {"question": "What is the date?", "answers": ["May 5, 1998", "5 May"], "image": picture(n)}
        for n in range(3)
    ]


def mmvp():
    return [
        {
            "Index": index + 1,
            "Question": "Which way?",
            "Options": "(a) left (b) right",
            "Correct Answer": "(a)" if index % 2 else "(b)",
            "image": picture(index, family="mmvp"),
        }
        for index in range(6)
    ]


def realworldqa():
    return [
        {"question": "Which? A. one B. two", "answer": "B", "image": picture(0)},
        {"question": "How many cars?", "answer": "3", "image": picture(1)},
        {"question": "Which way?", "answer": "Turn left", "image": picture(2)},
    ]


def cvbench():
    kinds = [("2D", "ADE20K"), ("2D", "COCO"), ("3D", "Omni3D")]
    return [
        {
            "type": kind,
            "task": "Count",
            "prompt": "How many? Select from the following choices.\n(A) 1\n(B) 2",
            "choices": ["1", "2"],
            "answer": "(B)",
            "source": source,
            "image": picture(index),
        }
        for index, (kind, source) in enumerate(kinds * 3)
    ]


ROWS = {
    "ai2d": ai2d,
    "chartqa": chartqa,
    "cvbench2d": cvbench,
    "cvbench3d": cvbench,
    "docvqa": docvqa,
    "mathvista": mathvista,
    "mmbench": mmbench,
    "mme": mme,
    "mmmu": mmmu,
    "mmvp": mmvp,
    "ocrbench": ocrbench,
    "realworldqa": realworldqa,
    "seed": seed,
    "sqa": sqa,
    "textvqa": textvqa,
}
NAMES = sorted([*ROWS, "gqa"])


def write_parquet(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_rows(folder, name):
    """One benchmark below `folder`, laid out as the hub's repositories are."""
    if name == "gqa":
        questions, pictures = gqa()
        write_parquet(
            folder / name / "testdev_balanced_instructions" / "testdev.parquet", questions
        )
        write_parquet(folder / name / "testdev_balanced_images" / "testdev.parquet", pictures)
    else:
        write_parquet(folder / name / "data" / "rows.parquet", ROWS[name]())


def write_jsonl(path, rows):
    """Rows whose pictures are files beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        kept = dict(row)
        if isinstance(row.get("image"), dict):
            (path.parent / f"{number}.png").write_bytes(row["image"]["bytes"])
            kept["image"] = f"{number}.png"
        lines.append(json.dumps(kept))
    path.write_text("\n".join(lines))
