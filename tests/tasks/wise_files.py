"""Files in the shape of WISE's, with words of our own, and a card that pins them."""

import hashlib
import json

from unimm_eval.api import Sample
from unimm_eval.data import DataFile
from unimm_eval.engine.registry import task_entries
from unimm_eval.tasks.wise.records import LAST_ID

EVALUATOR = '''
import nothing_of_this_name
raise SystemExit("this file must never run")


def build_evaluation_messages(prompt_data: dict, image_base64: str) -> list:
    return [
        {"role": "system", "content": [{"type": "text", "text": "You are an auditor."}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": f"""Look closely. {{braces}} stay.
PROMPT: "{prompt_data['Prompt']}"
EXPLANATION: "{prompt_data['Explanation']}"
Say the verdict.""",
                },
                {"type": "image_url", "image_url": {"url": f"data:{image_base64}"}},
            ],
        },
    ]
'''


def ids_of(variant, per_group=3):
    """The first ids of each group."""
    firsts = [1, *(last + 1 for last in LAST_ID[variant].values())][:-1]
    return [first + offset for first in firsts for offset in range(per_group)]


def record(number):
    return {
        "Prompt": f"prompt {number}",
        "Explanation": f"explanation {number}",
        "Category": "any",
        "Subcategory": "any",
        "prompt_id": number,
    }


def pinned_card(name, folder, *, evaluator=EVALUATOR, per_group=3):
    """The card of `name` with files of ours, which are written into `folder`."""
    card = task_entries()[name].card
    variant = "verified" if "verified" in name else "legacy"
    numbers = ids_of(variant, per_group)
    third = len(numbers) // 3
    parts = [numbers[:third], numbers[third : 2 * third], numbers[2 * third :]]
    files = []
    for row in card.data["files"]:
        path = folder / row["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        json_file = path.suffix == ".json"
        rows = [record(number) for number in parts.pop(0)] if json_file else []
        data = (json.dumps(rows) if json_file else evaluator).encode()
        path.write_bytes(data)
        change = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        files.append(DataFile(**{**row, **change}).model_dump(mode="json"))
    return card.model_copy(update={"data": {**card.data, "files": files}})


def samples_of(variant):
    """The full list: a sample an id, its prompt the cluster."""
    return [
        Sample(id=str(number), inputs={"prompt_id": number}, cluster=str(number))
        for number in range(1, LAST_ID[variant]["chemistry"] + 1)
    ]
