"""The sixteen by lmms-eval itself: `lmms_reference.py ROWS` prints {name: {metric: number}}.

The official tasks and `simple_evaluate`, with only the data source replaced, and a model that
answers as the tests' own does.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tasks")]
os.environ |= {"OPENAI_API_KEY": "none", "TQDM_DISABLE": "1"}

import datasets  # noqa: E402
import numpy as np  # noqa: E402
from official_rows.answers import answer_of  # noqa: E402

FOLDERS = {
    "mmbench": ("mmbench", "mmbench_en_dev"),
    "seed": ("seedbench", "seedbench"),
    "mme": ("mme", "mme"),
    "gqa": ("gqa", "gqa"),
    "sqa": ("scienceqa", "scienceqa_img"),
    "mmmu": ("mmmu", "mmmu_val"),
    "mathvista": ("mathvista", "mathvista_testmini_cot"),
    "ai2d": ("ai2d", "ai2d"),
    "chartqa": ("chartqa", "chartqa"),
    "ocrbench": ("ocrbench", "ocrbench"),
    "textvqa": ("textvqa", "textvqa_val"),
    "docvqa": ("docvqa", "docvqa_val"),
    "mmvp": ("mmvp", "mmvp"),
    "realworldqa": ("realworldqa", "realworldqa"),
    "cvbench2d": ("cv_bench", "cv_bench_2d"),
    "cvbench3d": ("cv_bench", "cv_bench_3d"),
}


def main():
    rows = Path(sys.argv[1])
    load = datasets.load_dataset
    here = {"folder": rows}

    def load_here(path, name=None, **kwargs):
        kwargs.pop("token", None)
        return load(str(here["folder"]), name, **kwargs)

    datasets.load_dataset = load_here

    from lmms_eval import evaluator
    from lmms_eval import tasks as registry
    from lmms_eval.api.model import lmms

    class Answers(lmms):
        is_simple = False

        def generate_until(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            _, to_messages, _, number, task, split = request.args
            arrays, texts = [], []
            for message in to_messages(self.task_dict[task][split][number]):
                for part in message["content"]:
                    if part["type"] == "text":
                        texts.append(part["text"])
                    else:
                        arrays.append(np.asarray(part["url"].convert("RGB")))
            return answer_of("\n".join(texts), arrays)

        def loglikelihood(self, requests):
            raise NotImplementedError

        def generate_until_multi_round(self, requests):
            raise NotImplementedError

    found = {}
    for name, (folder, task) in FOLDERS.items():
        here["folder"] = rows / name
        manager = registry.TaskManager(
            include_path=[str(Path(registry.__file__).parent / folder)], include_defaults=False
        )
        result = evaluator.simple_evaluate(
            model=Answers(), tasks=[task], task_manager=manager, bootstrap_iters=0
        )
        numbers = result["results"][task]
        found[name] = {
            key.partition(",")[0]: value
            for key, value in numbers.items()
            if isinstance(value, int | float) and "_stderr" not in key
        }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
