"""From the features of all pictures to what each layer's probe says of validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unimm_eval.api import Output, Sample
from unimm_eval.tasks.probes.classifiers import Probed, Recipe, train_classifiers
from unimm_eval.tasks.probes.decoders import Decoded, train_decoders
from unimm_eval.tasks.probes.stacks import Stack

STACKS = ("encoder", "backbone", "twin")
"""Where layers are; `twin` is the backbone of the untrained twin."""
PIXELS = "pixels"
SPLITS = ("train", "val", "test")


def tokens_of(stack: str) -> str:
    """Name of the array of a stack's tokens, not averaged."""
    return f"{stack}.tokens"


def targets_of(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    """The classes that pictures are labelled with, by what is asked of them."""
    found: dict[str, set[str]] = {}
    for sample in samples:
        for target, label in sample.inputs["labels"].items():
            found.setdefault(target, set()).add(label)
    return {target: tuple(sorted(labels)) for target, labels in found.items()}


@dataclass(frozen=True, kw_only=True)
class Places:
    """Indices of outputs by split."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @classmethod
    def where(cls, samples: Sequence[Sample], indices: Sequence[int]) -> "Places":
        split_of = [samples[index].inputs["split"] for index in indices]
        return cls(
            **{split: np.flatnonzero([found == split for found in split_of]) for split in SPLITS}
        )

    @property
    def enough(self) -> bool:
        """Whether there is something to learn from, to choose by and to report."""
        return all(len(vars(self)[split]) for split in SPLITS)

    @property
    def judged(self) -> np.ndarray:
        """Validation, then test: the order of what probes say."""
        return np.concatenate([self.val, self.test])


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known of each output: payloads by index."""

    payloads: list[dict[str, Any]] = field(default_factory=list)

    def add(self, index: int, kind: str, key: str, value: Any) -> None:
        self.payloads[index].setdefault(kind, {})[key] = value


def probe(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    *,
    recipe: Recipe,
    ridges: Sequence[float],
    device: str,
) -> list[dict[str, Any]]:
    """A payload an output; those of training pictures say only their split.

    A target of which the pictures of a split, or two classes to tell apart, are missing is left
    out. Payloads hold, by stack (and target):

        right   a letter a layer, 1 where its probe is right
        answer  the class that the probe of the backbone's layer best on validation names
        chosen  of test pictures, the index of each layer's candidate
        psnr    in dB, a number a layer; `ridge` each layer's penalty
    """
    findings = Findings(payloads=[{"split": sample.inputs["split"]} for sample in samples])
    for target, classes in targets_of(samples).items():
        _classify(
            samples,
            outputs,
            target=target,
            classes=classes,
            recipe=recipe,
            device=device,
            findings=findings,
        )
    _decode(samples, outputs, ridges=ridges, device=device, findings=findings)
    return findings.payloads


def _classify(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    *,
    target: str,
    classes: Sequence[str],
    recipe: Recipe,
    device: str,
    findings: Findings,
) -> None:
    mine = [index for index, sample in enumerate(samples) if target in sample.inputs["labels"]]
    places = Places.where(samples, mine)
    number = {name: index for index, name in enumerate(classes)}
    class_N = np.array([number[samples[index].inputs["labels"][target]] for index in mine], int)
    if not places.enough or len(set(class_N[places.train].tolist())) < 2:
        return
    for stack_name in STACKS:
        if stack_name not in outputs[mine[0]].arrays:
            continue
        found: Probed = train_classifiers(
            Stack.of([outputs[index].arrays[stack_name] for index in mine], name=stack_name),
            class_N,
            train=places.train,
            val=places.val,
            test=places.test,
            num_classes=len(classes),
            recipe=recipe,
            device=device,
        )
        said_NL = np.concatenate([found.said_val_NL, found.said_test_NL])
        right_NL = said_NL == class_N[places.judged][:, None]
        best = int(right_NL[: len(places.val)].mean(axis=0).argmax())
        key = f"{stack_name}/{target}"
        for place, said_L, right_L in zip(places.judged, said_NL, right_NL, strict=True):
            index = mine[place]
            findings.add(index, "right", key, "".join("01"[right] for right in right_L.tolist()))
            if stack_name == "backbone":
                findings.add(index, "answer", target, classes[said_L[best]])
        for place in places.test:
            findings.add(mine[place], "chosen", key, found.chosen_L.tolist())


def _decode(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    *,
    ridges: Sequence[float],
    device: str,
    findings: Findings,
) -> None:
    mine = [index for index, output in enumerate(outputs) if PIXELS in output.arrays]
    places = Places.where(samples, mine)
    if not places.enough:
        return
    pixels = Stack.of([outputs[index].arrays[PIXELS] for index in mine], name=PIXELS)
    for stack_name in STACKS:
        name = tokens_of(stack_name)
        if name not in outputs[mine[0]].arrays:
            continue
        found: Decoded = train_decoders(
            Stack.of([outputs[index].arrays[name] for index in mine], name=stack_name),
            pixels,
            train=places.train,
            val=places.val,
            test=places.test,
            ridges=ridges,
            device=device,
        )
        psnr_NL = np.concatenate([found.val_NL, found.test_NL]).round(4)
        for place, psnr_L in zip(places.judged, psnr_NL, strict=True):
            findings.add(mine[place], "psnr", stack_name, psnr_L.tolist())
        for place in places.test:
            findings.add(mine[place], "ridge", stack_name, found.ridge_L.tolist())
