"""The sixteen in the schemas of lmms-eval's data sets, a few dozen rows each."""

from official_rows.files import FLAG, PICTURE, REAL, TEXT, WHOLE, listed, write_dataset
from official_rows.pictured import asked

LETTERS = "ABCDEFGH"


def mmbench():
    """Circular: every question four times with its options turned, a million apart."""
    rows = []
    for number, each in enumerate(asked("gqa", 9)):
        for turn in range(4):
            options = each.options(4, number + turn)
            rows.append(
                {
                    "index": number + 100 + turn * 1_000_000,
                    "question": each.question,
                    "hint": "nan" if number % 2 else "shapes stand in the corners",
                    "answer": LETTERS[options.index(each.answer)],
                    **dict(zip("ABCD", options, strict=True)),
                    "category": ("attribute", "relation")[number % 2],
                    "image": each.picture,
                    "source": "world",
                    "L2-category": ("fine", "coarse")[number % 2],
                    "comment": "nan",
                    "split": "dev",
                }
            )
    columns = dict.fromkeys([*"ABCD", "question", "hint", "answer", "category", "source"], TEXT)
    columns |= {"index": WHOLE, "image": PICTURE, "comment": TEXT, "split": TEXT}
    return {"en": ("dev", columns | {"L2-category": TEXT}, rows)}


def seedbench():
    rows = []
    for number, each in enumerate(asked("realworldqa", 28)):
        options = each.options(4, number)
        rows.append(
            {
                "answer": LETTERS[options.index(each.answer)],
                **{f"choice_{letter}": text for letter, text in zip("abcd", options, strict=True)},
                "data_id": str(number),
                "data_type": "video" if number % 7 == 6 else "image",
                "question": each.question,
                "question_id": str(1000 + number),
                "question_type_id": 1 + number % 3,
                "image": [each.picture] * (2 if number % 7 == 6 else 1),
                "segment": ["0"],
            }
        )
    texts = ["answer", *(f"choice_{x}" for x in "abcd"), "data_id", "data_type", "question"]
    columns = dict.fromkeys([*texts, "question_id"], TEXT)
    columns |= {"question_type_id": WHOLE, "image": listed(PICTURE), "segment": listed(TEXT)}
    return {"default": ("test", columns, rows)}


def mme():
    """Two questions a picture, one yes and one no."""
    kinds = ("existence", "count", "position", "color", "OCR", "code_reasoning")
    rows = []
    for number, each in enumerate(asked("gqa", 18)):
        for right in (True, False):
            claim = each.answer if right else each.options(2)[1]
            rows.append(
                {
                    "question_id": f"{kinds[number % 6]}/{number}.png",
                    "image": each.picture,
                    "question": f"{each.question} Is it {claim}? Please answer yes or no.",
                    "answer": "Yes" if right else "No",
                    "category": kinds[number % 6],
                }
            )
    columns = dict.fromkeys(["question_id", "question", "answer", "category"], TEXT)
    return {"default": ("test", columns | {"image": PICTURE}, rows)}


def gqa():
    """Questions and pictures in two parts; each picture is asked about more than once."""
    found = asked("gqa", 16)
    pictures = [{"id": f"n{number}", "image": each.picture} for number, each in enumerate(found)]
    rows = []
    for number, each in enumerate(found):
        for question in (each.question, f"tell me, {each.question}"):
            rows.append(
                {
                    "id": str(len(rows)),
                    "imageId": f"n{number}",
                    "question": question,
                    "answer": each.answer,
                    "fullAnswer": f"It is {each.answer}.",
                    "isBalanced": True,
                }
            )
    columns = dict.fromkeys(["id", "imageId", "question", "answer", "fullAnswer"], TEXT)
    return {
        "testdev_balanced_instructions": ("testdev", columns | {"isBalanced": FLAG}, rows),
        "testdev_balanced_images": ("testdev", {"id": TEXT, "image": PICTURE}, pictures),
    }


def ai2d():
    rows = []
    for number, each in enumerate(asked("ai2d", 24)):
        options = each.options(4, number)
        rows.append(
            {
                "question": each.question,
                "options": options,
                "answer": str(options.index(each.answer)),
                "image": each.picture,
            }
        )
    columns = {"question": TEXT, "options": listed(TEXT), "answer": TEXT, "image": PICTURE}
    return {"default": ("test", columns, rows)}


def mathvista():
    rows = []
    for number, each in enumerate(asked("mathvista", 32, photographs=4)):
        numeric = each.answer.isdecimal()
        real = numeric and number % 3 == 0
        answer = f"{float(each.answer):.1f}" if real else each.answer
        hint = "answer with the value" if numeric else "answer with the option letter"
        rows.append(
            {
                "pid": str(number + 1),
                "question": each.question,
                "image": f"images/{number + 1}.jpg",
                "decoded_image": each.picture,
                "choices": [] if numeric else list(each.choices),
                "unit": "",
                "precision": 1.0 if real else None,
                "answer": answer,
                "question_type": "free_form" if numeric else "multi_choice",
                "answer_type": ("float" if real else "integer") if numeric else "text",
                "metadata": {
                    "category": "math-targeted-vqa",
                    "context": "synthetic scene",
                    "grade": "elementary school",
                    "language": "english",
                    "skills": ["arithmetic reasoning"],
                    "source": "world",
                    "split": "testmini",
                    "task": "figure question answering",
                },
                "query": f"Hint: Please {hint}.\nQuestion: {each.question}",
            }
        )
    texts = ["category", "context", "grade", "language", "source", "split", "task"]
    metadata = {**dict.fromkeys(texts, TEXT), "skills": listed(TEXT)}
    names = ["pid", "question", "image", "unit", "answer", "question_type", "answer_type", "query"]
    columns = dict.fromkeys(names, TEXT)
    columns |= {"decoded_image": PICTURE, "choices": listed(TEXT), "precision": REAL}
    return {"default": ("testmini", columns | {"metadata": metadata}, rows)}


def mmmu():
    subjects = ("Art", "Physics", "Math", "Music")
    rows = []
    found = asked("mmmu", 24)
    for number, each in enumerate(found):
        options = each.options(4, number)
        open_ended = number % 4 == 3
        two = number % 6 == 2
        rows.append(
            {
                "id": f"validation_{subjects[number % 4]}_{number}",
                "question": f"<image 1> {each.question}" + (" Not <image 2>." if two else ""),
                "options": "[]" if open_ended else repr(options),
                "explanation": "",
                "image_1": each.picture,
                "image_2": found[number - 1].picture if two else None,
                "img_type": "['Scenes']",
                "answer": each.answer if open_ended else LETTERS[options.index(each.answer)],
                "topic_difficulty": "Easy",
                "question_type": "open" if open_ended else "multiple-choice",
                "subfield": "World",
            }
        )
    texts = ["id", "question", "options", "explanation", "img_type", "answer", "topic_difficulty"]
    columns = dict.fromkeys([*texts, "question_type", "subfield"], TEXT)
    columns |= {f"image_{number}": PICTURE for number in range(1, 8)}
    return {"default": ("validation", columns, rows)}


def scienceqa():
    rows = []
    for number, each in enumerate(asked("sqa", 24)):
        options = each.options(4, number)
        rows.append(
            {
                "image": each.picture,
                "question": each.question,
                "choices": options,
                "answer": options.index(each.answer),
                "hint": "count the corners" if number % 2 else "",
                "task": "closed choice",
                "grade": "grade2",
                "subject": "natural science",
                "topic": "geometry",
                "category": "Shapes",
                "skill": "Count corners",
                "lecture": "",
                "solution": "",
            }
        )
    texts = ["question", "hint", "task", "grade", "subject", "topic", "category", "skill"]
    columns = dict.fromkeys([*texts, "lecture", "solution"], TEXT)
    columns |= {"image": PICTURE, "choices": listed(TEXT), "answer": WHOLE}
    return {"ScienceQA-IMG": ("test", columns, rows)}


def ocrbench():
    kinds = (
        "Regular Text Recognition",
        "Handwriting Recognition",
        "Digit String Recognition",
        "Handwritten Mathematical Expression Recognition",
    )
    rows = [
        {
            "dataset": "HME100k" if number % 4 == 3 else "world",
            "question": each.question,
            "question_type": kinds[number % 4],
            "answer": [each.answer],
            "image": each.picture,
        }
        for number, each in enumerate(asked("ocrbench", 40))
    ]
    columns = {"dataset": TEXT, "question": TEXT, "question_type": TEXT}
    return {"default": ("test", columns | {"answer": listed(TEXT), "image": PICTURE}, rows)}


def textvqa():
    rows = []
    for number, each in enumerate(asked("textvqa", 32)):
        others = each.options(3)[1:]
        sure = 2 + number % 8
        rows.append(
            {
                "image_id": f"i{number}",
                "question_id": number,
                "question": each.question,
                "question_tokens": each.question.split(),
                "image": each.picture,
                "image_width": 32,
                "image_height": 32,
                "answers": [each.answer] * sure + [others[n % 2] for n in range(10 - sure)],
                "image_classes": ["Digit"],
                "set_name": "val",
                "ocr_tokens": [each.answer],
            }
        )
    columns = {"image_id": TEXT, "question_id": WHOLE, "question": TEXT, "image": PICTURE}
    lists = ["question_tokens", "answers", "image_classes", "ocr_tokens"]
    columns |= {"image_width": WHOLE, "image_height": WHOLE, "set_name": TEXT}
    columns |= {name: listed(TEXT) for name in lists}
    return {"default": ("validation", columns, rows)}


def chartqa():
    rows = [
        {
            "type": ("human_test", "augmented_test")[number % 2],
            "question": each.question,
            "answer": each.answer,
            "image": each.picture,
        }
        for number, each in enumerate(asked("chartqa", 32))
    ]
    columns = {"type": TEXT, "question": TEXT, "answer": TEXT, "image": PICTURE}
    return {"default": ("test", columns, rows)}


def docvqa():
    rows = [
        {
            "questionId": str(number),
            "question": each.question,
            "question_types": ["form"],
            "image": each.picture,
            "docId": number,
            "answers": [each.answer, f"the {each.answer}"],
            "data_split": "val",
        }
        for number, each in enumerate(asked("docvqa", 32))
    ]
    columns = {"questionId": TEXT, "question": TEXT, "image": PICTURE, "docId": WHOLE}
    columns |= {"question_types": listed(TEXT), "answers": listed(TEXT), "data_split": TEXT}
    return {"DocVQA": ("validation", columns, rows)}


def mmvp():
    """Pairs of pictures with one question, and opposite answers."""
    rows = []
    for number, each in enumerate(asked("mmvp", 26)):
        first, second = sorted(each.choices[:2]) if number < 24 else ("temple", "flower")
        rows.append(
            {
                "Index": number + 1,
                "Question": each.question,
                "Options": f"(a) {first} (b) {second}",
                "Correct Answer": "(a)" if each.answer == first else "(b)",
                "image": each.picture,
            }
        )
    columns = {"Index": WHOLE, "Question": TEXT, "Options": TEXT, "Correct Answer": TEXT}
    return {"default": ("train", columns | {"image": PICTURE}, rows)}


def cv_bench():
    parts = {}
    for kind, families in {"2D": ("cvbench2d", "realworldqa"), "3D": ("cvbench3d",)}.items():
        rows = []
        for family in families:
            for each in asked(family, 14):
                options = each.options(4, len(rows))
                letter = LETTERS[options.index(each.answer)]
                listing = " ".join(f"({x}) {text}" for x, text in zip(LETTERS, options))  # noqa: B905
                source = ("ADE20K", "COCO")[len(rows) % 2] if kind == "2D" else "Omni3D"
                rows.append(
                    {
                        "idx": len(rows),
                        "type": kind,
                        "task": "Count" if kind == "2D" else "Depth",
                        "image": each.picture,
                        "question": each.question,
                        "choices": options,
                        "answer": f"({letter})",
                        "prompt": f"{each.question} Select from the following choices.\n{listing}",
                        "filename": f"img/{kind}/{len(rows)}.png",
                        "source": source,
                        "source_dataset": source,
                        "source_filename": f"{len(rows)}.png",
                    }
                )
        texts = ["type", "task", "question", "answer", "prompt", "filename", "source"]
        columns = dict.fromkeys([*texts, "source_dataset", "source_filename"], TEXT)
        columns |= {"idx": WHOLE, "image": PICTURE, "choices": listed(TEXT)}
        parts[kind] = ("test", columns, rows)
    return parts


def realworldqa():
    rows = []
    for number, each in enumerate(asked("realworldqa", 32)):
        options = each.options(3, number)
        letter = LETTERS[options.index(each.answer)]
        listing = "\n".join(f"{x}. {text}" for x, text in zip(LETTERS, options))  # noqa: B905
        suffix = (
            "Please answer directly with only the letter of the correct option and nothing else."
        )
        plain = number % 4 == 3
        rows.append(
            {
                "image": each.picture,
                "image_path": f"{number}.webp",
                "question": each.question if plain else f"{each.question}\n\n{listing}\n{suffix}",
                "answer": each.answer if plain else letter,
            }
        )
    columns = {"image": PICTURE, "image_path": TEXT, "question": TEXT, "answer": TEXT}
    return {"default": ("test", columns, rows)}


DATASETS = {
    "mmbench": mmbench,
    "seed": seedbench,
    "mme": mme,
    "gqa": gqa,
    "sqa": scienceqa,
    "mmmu": mmmu,
    "mathvista": mathvista,
    "ai2d": ai2d,
    "chartqa": chartqa,
    "ocrbench": ocrbench,
    "textvqa": textvqa,
    "docvqa": docvqa,
    "mmvp": mmvp,
    "realworldqa": realworldqa,
    "cvbench2d": cv_bench,
    "cvbench3d": cv_bench,
}


def write_all(folder):
    """A folder for each of the sixteen, like a copy of its repository; their paths by name."""
    return {name: write_dataset(folder / name, make()) for name, make in DATASETS.items()}
