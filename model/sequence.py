"""Documents of text and pictures, packed into rows.

A document is a list of segments. A picture stands between `<boi>` and `<eoi>` (paper appendix B).
Rows hold several documents that never see each other; positions count from each document's start.

Shapes: B rows, S tokens a row, I pictures, T tokens a picture, C latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unimm_eval.model.chat import chat_template
from unimm_eval.model.masks import Visible
from unimm_eval.model.modality import IMAGE, TEXT
from unimm_eval.model.tokenizer import Tokenizer

P = TypeVar("P")  # a picture, in whatever form

IGNORED = -100
"""Target of a token that is not trained on (cross_entropy's ignore_index)."""


@dataclass(frozen=True, kw_only=True)
class TextSegment:
    """Token ids; with `loss` each of them is a target of the token before it, and counts `weight`
    times in the mean."""

    ids: Sequence[int]
    loss: bool = True
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PictureSegment:
    """Clean latents [T, C], the time they are shown at and their noise [T, C].

    With `flow` the picture counts in the flow loss. t = 1 shows it clean; the noise is then unused.
    With `understanding` the latents [T, U] are those of a dual encoder's understanding side, which
    are always shown clean.
    """

    latents: np.ndarray
    t: float = 1.0
    noise: np.ndarray | None = None
    flow: bool = False
    understanding: bool = False

    def __post_init__(self) -> None:
        if self.understanding and (self.flow or self.t != 1):
            raise ValueError("a picture to be understood is shown clean and has no flow loss")


Document = Sequence[TextSegment | PictureSegment]


def document_length(document: Document) -> int:
    return sum(
        len(part.ids) if isinstance(part, TextSegment) else len(part.latents) for part in document
    )


def caption_document(
    tokenizer: Tokenizer, caption: str | None, picture: PictureSegment
) -> Document:
    """Text to picture: `<bos> caption <boi> picture <eoi>`; None drops the condition."""
    ids = [tokenizer.bos, *(tokenizer.encode(caption) if caption is not None else ())]
    return [
        TextSegment(ids=[*ids, tokenizer.boi], loss=caption is not None),
        picture,
        TextSegment(ids=[tokenizer.eoi, tokenizer.eos]),
    ]


def describe_document(tokenizer: Tokenizer, caption: str, picture: PictureSegment) -> Document:
    """Picture to text: `<bos> <boi> picture <eoi> caption <eos>`."""
    return [
        TextSegment(ids=[tokenizer.bos, tokenizer.boi], loss=False),
        picture,
        TextSegment(ids=[tokenizer.eoi], loss=False),
        TextSegment(ids=[*tokenizer.encode(caption), tokenizer.eos]),
    ]


def text_document(tokenizer: Tokenizer, text: str) -> Document:
    """`<bos> text <eos>`."""
    return [TextSegment(ids=[tokenizer.bos, *tokenizer.encode(text), tokenizer.eos])]


def interleaved(tokenizer: Tokenizer, parts: Sequence[str | P]) -> list[list[int] | P]:
    """`<bos>`, then texts and pictures as they come, each picture between `<boi>` and `<eoi>`:
    token ids and pictures in turn."""
    return _merged([[tokenizer.bos], *_shown(tokenizer, parts)])


def conversation(
    tokenizer: Tokenizer, asked: Sequence[Sequence[str | P]], answers: Sequence[str] = ()
) -> list[list[int] | P]:
    """Token ids and pictures of turns: what was asked in each, and the answers to all but the last.

    The chat template of checkpoints of ours: `<bos>`, the pictures before any text, `<user>`, what
    else is asked, `<assistant>`; behind an answer `<eot>` and the next turn from `<user>` on
    (LLaMA-3's in `chat.py`). A picture stands between `<boi>` and `<eoi>`. A single one is first
    wherever it is given, as in LLaVA and Cambrian; several stay in their places, so that the text
    can say which is which.
    """
    template = chat_template(tokenizer)
    begin = list(asked[0])
    if sum(not isinstance(part, str) for parts in asked for part in parts) == 1:
        begin.sort(key=lambda part: isinstance(part, str))
    leading = list(
        takewhile(lambda part: template.picture_before and not isinstance(part, str), begin)
    )
    laid = [[tokenizer.bos], *_shown(tokenizer, leading)]
    for number, parts in enumerate([begin[len(leading) :], *asked[1:]]):
        if number:
            laid.append([*tokenizer.encode(answers[number - 1]), tokenizer.eot])
        laid += [[*template.asked], *_shown(tokenizer, parts), [*template.answered]]
    return _merged(laid)


def _shown(tokenizer: Tokenizer, parts: Sequence[str | P]) -> list[list[int] | P]:
    """Texts without a picture between them are one; pictures between their tokens."""
    laid: list[list[int] | P] = []
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_text:
            laid.append(tokenizer.encode("".join(str(part) for part in group)))
        else:
            for part in group:
                laid += [[tokenizer.boi], part, [tokenizer.eoi]]  # type: ignore[list-item]
    return laid


def _merged(laid: Sequence[list[int] | P]) -> list[list[int] | P]:
    """Neighbouring token ids as one list."""
    merged: list[list[int] | P] = []
    for part in laid:
        if isinstance(part, list) and merged and isinstance(merged[-1], list):
            merged[-1] += part
        else:
            merged.append(list(part) if isinstance(part, list) else part)
    return merged


def prompt_document(laid: Sequence[list[int] | PictureSegment]) -> Document:
    """Token ids and pictures as a document of which nothing is trained on."""
    return [TextSegment(ids=part, loss=False) if isinstance(part, list) else part for part in laid]


def question_document(
    tokenizer: Tokenizer, pictures: Sequence[PictureSegment], question: str
) -> Document:
    """Pictures and a question to be answered, by the chat template."""
    return prompt_document(conversation(tokenizer, [[*pictures, question]]))


def chat_document(
    tokenizer: Tokenizer,
    picture: PictureSegment | None,
    turns: Sequence[tuple[str, str]],
    *,
    answer_weight: float = 1.0,
) -> Document:
    """A picture, where there is one, and turns of (question, answer); only answers and their
    `<eot>` are trained on."""
    pictures = [] if picture is None else [picture]
    document: list[TextSegment | PictureSegment] = []
    for question, answer in turns:
        asked = _turn(tokenizer, question)
        document += [asked] if document else question_document(tokenizer, pictures, question)
        ids = [*tokenizer.encode(answer), tokenizer.eot]
        document.append(TextSegment(ids=ids, weight=answer_weight))
    return document


def frames_document(
    tokenizer: Tokenizer,
    context: Sequence[PictureSegment],
    steps: Sequence[tuple[str, PictureSegment]] = (),
) -> Document:
    """Frames from frames and actions (paper §2.3 "I + T → I", appendices B and F): `<bos>`, the
    context frames, then for each step its action as text and the frame it leads to.

    Each frame stands between `<boi>` and `<eoi>`. Actions are given and never predicted, so no
    token is a target.
    """
    document: list[TextSegment | PictureSegment] = [TextSegment(ids=[tokenizer.bos], loss=False)]
    for action, frame in [*(("", frame) for frame in context), *steps]:
        before = [*tokenizer.encode(action), tokenizer.boi]
        document.append(TextSegment(ids=before, loss=False))
        document.append(frame)
        document.append(TextSegment(ids=[tokenizer.eoi], loss=False))
    return document


def navigation_document(
    tokenizer: Tokenizer,
    context: Sequence[PictureSegment],
    steps: Sequence[tuple[str, PictureSegment]],
    *,
    dropped: bool = False,
) -> Document:
    """What a rollout shows while it paints the last frame of `steps`, to be trained on (paper §5):
    `frames_document`, in which that frame alone is noised.

    The frames before it are clean and all stay, however many steps were taken: a rollout never
    forgets its context. `dropped` leaves frames and actions out, which is what guidance steers away
    from. Raises ValueError when another frame than the last one counts in the flow loss.
    """
    shown = [*context, *(frame for _, frame in steps)]
    if [frame.flow for frame in shown] != [False] * (len(shown) - 1) + [True]:
        raise ValueError("the last frame alone has a flow loss")
    return frames_document(
        tokenizer, () if dropped else context, [("", shown[-1])] if dropped else steps
    )


def _turn(tokenizer: Tokenizer, question: str) -> TextSegment:
    template = chat_template(tokenizer)
    ids = [*template.asked, *tokenizer.encode(question), *template.answered]
    return TextSegment(ids=ids, loss=False)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packed rows as tensors.

    `targets_BS` is the next token or IGNORED, `weights_BS` how often it counts; `index_IT` where
    picture tokens stand in the flattened rows; `visible` the mask; `modality_BS` 0 for text and 1
    for image; `flow_I` which pictures count in the flow loss. Pictures in a dual encoder's
    understanding space stand apart, in `understood_JTU` at `understood_index_JT`.
    """

    tokens_BS: Tensor
    positions_BS: Tensor
    visible: Visible
    modality_BS: Tensor
    targets_BS: Tensor
    weights_BS: Tensor
    valid_BS: Tensor
    latents_ITC: Tensor
    noise_ITC: Tensor
    t_I: Tensor
    flow_I: Tensor
    index_IT: Tensor
    understood_JTU: Tensor
    understood_index_JT: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        moved = {name: value.to(device) for name, value in vars(self).items() if name != "visible"}
        visible = Visible(
            first_BS=self.visible.first_BS.to(device), last_BS=self.visible.last_BS.to(device)
        )
        return Batch(**moved, visible=visible)


def pack(
    rows: Sequence[Sequence[Document]],
    *,
    length: int,
    pad: int,
    grid_tokens: int,
    channels: int,
    understanding_channels: int = 0,
) -> Batch:
    """Lay documents behind one another in rows of `length` tokens. Raises ValueError when a row's
    documents do not fit."""
    shape = (len(rows), length)
    tokens = np.full(shape, pad, dtype=np.int64)
    targets = np.full(shape, IGNORED, dtype=np.int64)
    weights = np.ones(shape, dtype=np.float32)
    positions = np.zeros(shape, dtype=np.int64)
    first = np.tile(np.arange(length), (len(rows), 1))
    last = first.copy()
    modality = np.full(shape, TEXT, dtype=np.int64)
    valid = np.zeros(shape, dtype=bool)
    pictures: list[PictureSegment] = []
    understood: list[PictureSegment] = []
    starts: list[int] = []
    understood_starts: list[int] = []
    for row, documents in enumerate(rows):
        at = 0
        for document in documents:
            begin, end = at, at + document_length(document)
            if end > length:
                raise ValueError(f"row {row}: {end} tokens do not fit {length}")
            for part in document:
                if isinstance(part, TextSegment):
                    stop = at + len(part.ids)
                    tokens[row, at:stop] = part.ids
                    if part.loss:
                        predicted = slice(max(at, begin + 1) - 1, stop - 1)
                        targets[row, predicted] = part.ids[at == begin :]
                        weights[row, predicted] = part.weight
                else:
                    stop = at + len(part.latents)
                    modality[row, at:stop] = IMAGE
                    last[row, at:stop] = stop - 1
                    (understood if part.understanding else pictures).append(part)
                    (understood_starts if part.understanding else starts).append(row * length + at)
                at = stop
            first[row, begin:end] = begin
            positions[row, begin:end] = np.arange(end - begin)
            valid[row, begin:end] = True
    # A target behind a picture would be predicted from an image token; <eoi> is always next, so it
    # carries no information, and image states go to the other head (paper appendix B).
    targets[modality == IMAGE] = IGNORED
    latents = np.zeros((len(pictures), grid_tokens, channels), dtype=np.float32)
    noise = np.zeros_like(latents)
    for i, picture in enumerate(pictures):
        latents[i] = picture.latents
        if picture.noise is not None:
            noise[i] = picture.noise
    read = np.zeros((len(understood), grid_tokens, understanding_channels), dtype=np.float32)
    for j, picture in enumerate(understood):
        read[j] = picture.latents
    index, read_index = (
        torch.from_numpy(np.asarray(begins, dtype=np.int64)[:, None] + np.arange(grid_tokens))
        for begins in (starts, understood_starts)
    )
    return Batch(
        tokens_BS=torch.from_numpy(tokens),
        positions_BS=torch.from_numpy(positions),
        visible=Visible(first_BS=torch.from_numpy(first), last_BS=torch.from_numpy(last)),
        modality_BS=torch.from_numpy(modality),
        targets_BS=torch.from_numpy(targets),
        weights_BS=torch.from_numpy(weights),
        valid_BS=torch.from_numpy(valid),
        latents_ITC=torch.from_numpy(latents),
        noise_ITC=torch.from_numpy(noise),
        t_I=torch.tensor([picture.t for picture in pictures], dtype=torch.float32),
        flow_I=torch.tensor([picture.flow for picture in pictures], dtype=torch.bool),
        index_IT=index,
        understood_JTU=torch.from_numpy(read),
        understood_index_JT=read_index,
    )
