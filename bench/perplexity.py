"""Scoring documents with `hf:`, against a bare forward loop over the same windows.

    OMP_NUM_THREADS=1 python -m bench.perplexity

A LLaMA of random weights scores documents of the embedded world's language, short ones and ones of
several windows. Ours goes from text to nats a document: tokens, windows, batches, likelihoods. The
bare loops are given the windows as ids and do nothing but a forward pass and its cross entropy: one
window at a time, or in the batches that ours makes. What all of them sum to is checked to be equal.
They take turns within each round; a ratio is taken within a round, and the median over rounds is
reported with the lowest and the highest. Times are CPU time of one thread, so that other work on
the machine does not enter. Prints a Markdown table and writes `results/bench/perplexity.json`.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn import functional

from bench.transfusion import processor
from unimm_eval.adapters.hf import PASS_TOKENS, SPARE, HubModel
from unimm_eval.adapters.hf_files import Origin
from unimm_eval.adapters.windows import Window, passes, rolling_windows
from unimm_eval.api import DocumentRequest
from unimm_eval.world import rng_for, sample_document

RECORD = Path(__file__).parents[1] / "results" / "bench" / "perplexity.json"
LENGTH = 512
SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
}


def texts(count: int, *, first: int) -> list[str]:
    return [
        sample_document(
            rng_for(split="train", purpose="bench.perplexity", index=index), split="train"
        ).text
        for index in range(first, first + count)
    ]


def documents() -> list[str]:
    """Documents of one to three windows, and many short ones."""
    found = ["\n".join(texts(count, first=100 * count)) for count in (4, 5, 7, 9, 12, 14)]
    return found + texts(30, first=5000)


def subject() -> HubModel:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(200, first=0), trainer)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SHAPE))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )
    origin = Origin(name="bench", fingerprint="random", facts={})
    return HubModel(model.eval(), fast, origin=origin)


def windows_of(model: HubModel, found: Sequence[str]) -> list[Window]:
    tokens = model._tokens
    return [
        window
        for ids in tokens.encode(found)
        for window in rolling_windows(ids, prefix=tokens.prefix, max_length=LENGTH, overlap=0)
    ]


def one_by_one(network: Any, windows: Sequence[Window]) -> float:
    """The plainest loop: a window, a pass, its loss."""
    total = 0.0
    with torch.inference_mode():
        for window in windows:
            ids = torch.tensor([[*window.context, *window.scored[:-1]]])
            logits = network(input_ids=ids, use_cache=False).logits[0, len(window.context) - 1 :]
            target = torch.tensor(window.scored)
            total += float(functional.cross_entropy(logits.float(), target, reduction="sum"))
    return total


def in_batches(network: Any, windows: Sequence[Window]) -> float:
    """The same in the batches of ours, padded, with one loss a batch."""
    rows = [[*window.context, *window.scored] for window in windows]
    total = 0.0
    with torch.inference_mode():
        lengths = [len(row) - 1 for row in rows]
        for group in passes(lengths, tokens=PASS_TOKENS, spare=SPARE["cpu"]):
            longest = max(len(rows[index]) for index in group)
            ids = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in group])
            target = torch.full((len(group), longest), -100)
            for place, index in enumerate(group):
                first = len(windows[index].context)
                target[place, first : len(rows[index])] = torch.tensor(windows[index].scored)
            logits = network(input_ids=ids[:, :-1], use_cache=False).logits
            total += float(
                functional.cross_entropy(
                    logits.flatten(0, 1).float(), target[:, 1:].flatten(), reduction="sum"
                )
            )
    return total


def measure(*, rounds: int) -> dict[str, Any]:
    model = subject()
    found = documents()
    windows = windows_of(model, found)
    requests = [
        DocumentRequest(sample_id=str(index), text=text, max_length=LENGTH)
        for index, text in enumerate(found)
    ]

    def ours() -> float:
        return math.fsum(score.nats for score in model.score_documents(requests))

    ways: dict[str, Callable[[], float]] = {
        "ours": ours,
        "one window at a time": lambda: one_by_one(model._model, windows),
        "the same batches": lambda: in_batches(model._model, windows),
    }
    nats = {name: way() for name, way in ways.items()}
    if not all(math.isclose(value, nats["ours"], rel_tol=1e-5) for value in nats.values()):
        raise SystemExit(f"not the same number: {nats}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    ratios = {
        name: [bare / own for own, bare in zip(seconds["ours"], seconds[name], strict=True)]
        for name in ways
        if name != "ours"
    }
    return {
        "documents": len(found),
        "windows": len(windows),
        "tokens": sum(len(window.scored) for window in windows),
        "nats": nats,
        "cpu_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "as_fast_as": {
            name: {"median": statistics.median(r), "lowest": min(r), "highest": max(r)}
            for name, r in ratios.items()
        },
    }


def table(row: dict[str, Any]) -> str:
    """Markdown: a line a bare loop."""
    own = row["cpu_seconds"]["ours"]
    lines = [
        f"{row['documents']} documents, {row['windows']} windows, {row['tokens']:,} tokens",
        "",
        "| bare loop | its time | ours, with tokens and windows | as fast | spread |",
        "|---|---|---|---|---|",
    ]
    for name, ratio in row["as_fast_as"].items():
        bare = row["cpu_seconds"][name]
        lines.append(
            f"| {name} | {bare:.2f} s | {own:.2f} s | **{ratio['median']:.2f}** "
            f"| {ratio['lowest']:.2f} to {ratio['highest']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    row = measure(rounds=arguments.rounds)
    print(table(row))
    record = {
        "hardware": {"processor": processor(), "threads": torch.get_num_threads()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "model": SHAPE,
        "rounds": arguments.rounds,
        **row,
    }
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
