"""Files in the shape of DPG-Bench's, with words of our own, and a card that pins them."""

import csv
import gzip
import hashlib
import io
import tarfile

from unimm_eval.engine.registry import task_entries
from unimm_eval.tasks.dpgbench.files import git_tree

HEADER = ("item_id", "text", "keywords", "proposition_id", "dependency", "category_broad",
          "category_detailed", "tuple", "question_natural_language")  # fmt: skip

PROMPTS = {
    "partiprompts7": "A red hat on a table, and a dog beside it.",
    "0": "Two cups.",
    "partiprompts3": "A photo of a green bird.",
}

QUESTIONS = {
    "partiprompts7": [
        (1, "0", "entity - whole (hat)", "Is there a hat?"),
        (2, "1", "attribute - color (hat, red)", "Is the hat red?"),
        (3, "0", "entity - whole (dog)", "Is there a dog?"),
        (4, "1, 3", "relation - spatial (dog, hat, beside)", "Is the dog beside the hat?"),
    ],
    "0": [
        (1, "0", "entity - whole (cups)", "Are there cups?"),
        (2, "1", "other - count (cups, ==2)", "Are there two cups?"),
    ],
    "partiprompts3": [
        (1, "0", "global - (photo)", "Is this a photo?"),
        (2, "0", "entity - whole (bird)", "Is there a bird?"),
        (3, "2", "attribute - color (bird, green)", "Is the bird green?"),
    ],
}


def rows_of(questions=QUESTIONS, prompts=PROMPTS):
    return [
        (key, prompts.get(key, ""), "", number, parents, "", "", named, text)
        for key, rows in questions.items()
        for number, parents, named, text in rows
    ]


def table(rows=None, header=HEADER):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows_of() if rows is None else rows)
    return text.getvalue().encode()


def archive(files, *, folder="ELLA-3c228f1/dpg_bench/prompts"):
    """A `.tar.gz` of (name, bytes) rows; equal rows give equal bytes."""
    data = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in files:
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def as_files(prompts=PROMPTS):
    return {f"{key}.txt": text.encode() for key, text in prompts.items()}


def pinned_card(folder, *, rows=None, prompts=PROMPTS):
    """The card with files of ours, which are written into `folder`."""
    card = task_entries()["dpgbench"].card
    made = [archive(as_files(prompts).items()), table(rows)]
    files = []
    for row, content in zip(card.data["files"], made, strict=True):
        path = folder / row["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        kept = {key: row[key] for key in ("name", "url", "licence")}
        files.append({**kept, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})
    tree = git_tree(as_files(prompts))
    data = {**card.data, "prompts": len(prompts), "prompts_tree": tree, "files": files}
    return card.model_copy(update={"data": data})
