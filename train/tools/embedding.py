"""Texts to unit vectors: by a local model of transformers, or by an OpenAI-compatible server.

A vector that a text cannot get is a row of NaN. Batches are what the caller makes them, so equal
batches give equal vectors on one machine.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from unimm_eval.api import IncompleteError, UserError, content_hash
from unimm_eval.data.files import sha256_file
from unimm_eval.judges.openai import key_for, parse_spec
from unimm_eval.judges.session import OutageError, Patience, RefusedError, Session
from unimm_eval.judges.settings import JudgeSettings

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["mean", "cls", "last"]
_POOLING_FILE = Path("1_Pooling") / "config.json"
_POOLING_KEYS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_ROLE = "embedder"
_LONGEST = 8192  # tokens, of which 2,000 characters have no more in any tokenizer of bytes


class Embedder(Protocol):
    """What makes vectors. `identity` is all that they depend on besides the text."""

    identity: str
    dimensions: int

    def embed(self, batches: Iterable[Sequence[str]]) -> Iterator[np.ndarray]:
        """float32 [texts, dimensions], a batch each, in order. Raises IncompleteError."""


def open_embedder(
    spec: str, *, limits: JudgeSettings, patience: Patience | None = None, device: str = "auto"
) -> Embedder:
    """The embedder `openai:MODEL@URL`, or that of a model's folder. Raises UserError."""
    if spec.startswith("openai:"):
        return ServedEmbedder(spec, limits, patience=patience or Patience())
    return LocalEmbedder(Path(spec), device=device)


class LocalEmbedder:
    """A folder that transformers' AutoModel loads: safetensors only, no code of it is run.

    Pooling is what `1_Pooling/config.json` of sentence-transformers says, else the mean over the
    text's tokens. Longer texts are cut at what the model takes.
    """

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{folder} is no folder of an embedding model: it has no config.json.",
                fix="Name a folder that transformers loads, or openai:MODEL@URL.",
            )
        import torch
        from transformers import AutoModel, AutoTokenizer

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = device
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = AutoModel.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, dtype=dtype
            )
            self._pooling = _pooling(folder)
            self._model = model.to(device).eval()
            config = self._model.config
            self.dimensions = int(config.hidden_size)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise UserError(f"{folder} cannot be loaded: {error}") from error
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        positions = getattr(config, "max_position_embeddings", _LONGEST)
        self._longest = int(min(self._tokenizer.model_max_length, positions, _LONGEST))
        self.identity = f"{_files_hash(folder)} {self._pooling} {str(dtype).removeprefix('torch.')}"

    def embed(self, batches: Iterable[Sequence[str]]) -> Iterator[np.ndarray]:
        for texts in batches:
            yield self._batch(texts)

    def _batch(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        encoded = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            hidden_BSD = self._model(**encoded).last_hidden_state.float()
        pooled_BD = pool(hidden_BSD, encoded["attention_mask"], self._pooling)
        return unit(pooled_BD.cpu().numpy())


class ServedEmbedder:
    """A model behind `/v1/embeddings`, asked by the judges' client: the same pace and patience."""

    def __init__(self, spec: str, limits: JudgeSettings, *, patience: Patience) -> None:
        self._name, self._url = parse_spec(spec, role=_ROLE)
        self._url = self._url.removesuffix("/embeddings")
        self._key = key_for(self._url, role=_ROLE)
        self._limits = limits
        self._patience = patience
        with self._session(expected=None) as session:
            try:
                answer = session.ask(self._body(["a probe"]), tokens=8)
                vector = _vectors(answer, 1)[0]
            except OutageError as error:
                raise IncompleteError(
                    f"{self._name} at {self._url} does not answer: {error}.",
                    fix="Start the server or wait for it; then the same command goes on.",
                ) from error
            except (RefusedError, ValueError) as error:
                raise UserError(
                    f"{self._name} at {self._url} gives no embeddings: {error}."
                ) from error
        self._model = str(answer.get("model") or self._name)
        self.dimensions = len(vector)
        self.identity = self._model

    def embed(self, batches: Iterable[Sequence[str]]) -> Iterator[np.ndarray]:
        with (
            self._session(expected=self._model) as session,
            ThreadPoolExecutor(self._limits.concurrency, thread_name_prefix="embed") as pool,
        ):
            try:
                yield from _in_order(
                    pool,
                    lambda texts: self._batch(texts, session),
                    batches,
                    ahead=2 * self._limits.concurrency,
                )
            except OutageError as error:
                raise IncompleteError(
                    f"{self._name} at {self._url} stopped answering: {error}.",
                    fix="What was answered is kept; the same command goes on.",
                ) from error
            finally:
                session.stop.set()
                pool.shutdown(cancel_futures=True)

    def _batch(self, texts: Sequence[str], session: Session) -> np.ndarray:
        """The vectors of a batch. One that is refused is asked for text by text."""
        try:
            answer = session.ask(self._body(texts), tokens=sum(map(len, texts)) // 4)
            vectors = _vectors(answer, len(texts))
            if any(len(vector) != self.dimensions for vector in vectors):
                raise RefusedError("its vectors are not all of one length")
            return unit(np.asarray(vectors, dtype=np.float32))
        except (RefusedError, ValueError):
            if len(texts) == 1:
                return np.full((1, self.dimensions), np.nan, dtype=np.float32)
            return np.concatenate([self._batch([text], session) for text in texts])

    def _body(self, texts: Sequence[str]) -> dict[str, Any]:
        return {
            "model": self._name,
            "input": list(texts),
            "encoding_format": "float",
            **self._limits.options,
        }

    def _session(self, *, expected: str | None) -> Session:
        return Session(
            url=f"{self._url}/embeddings",
            name=self._name,
            key=self._key,
            expected=expected,
            settings=self._limits,
            patience=self._patience,
            answers_in="data",
            role=_ROLE,
        )


def pool(hidden_BSD: "Tensor", mask_BS: "Tensor", pooling: Pooling) -> "Tensor":
    """[batch, dimensions] of the tokens that `mask_BS` shows, whichever side is padded."""
    import torch

    if pooling == "mean":
        weights_BS1 = mask_BS.unsqueeze(-1).to(hidden_BSD.dtype)
        return (hidden_BSD * weights_BS1).sum(1) / weights_BS1.sum(1).clamp(min=1.0)
    places_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
    if pooling == "cls":
        at_B = mask_BS.int().argmax(1)
    else:
        at_B = (mask_BS * places_S).argmax(1)
    return hidden_BSD[torch.arange(len(hidden_BSD), device=mask_BS.device), at_B]


def unit(vectors_BD: np.ndarray) -> np.ndarray:
    """float32 vectors of length 1; one that has no length or is not finite becomes NaN."""
    with np.errstate(all="ignore"):
        lengths_B1 = np.linalg.norm(vectors_BD.astype(np.float64), axis=1, keepdims=True)
        good_B1 = np.isfinite(lengths_B1) & (lengths_B1 > 0.0)
        scaled_BD = np.where(good_B1, vectors_BD / lengths_B1, np.nan)
    return np.asarray(scaled_BD, dtype=np.float32)


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Sequence[str]], np.ndarray],
    batches: Iterable[Sequence[str]],
    *,
    ahead: int,
) -> Iterator[np.ndarray]:
    """Results in the order of `batches`, with at most `ahead` of them begun."""
    source = iter(batches)
    begun: deque[Future[np.ndarray]] = deque(pool.submit(work, b) for b in islice(source, ahead))
    while begun:
        yield begun.popleft().result()
        begun.extend(pool.submit(work, batch) for batch in islice(source, 1))


def _vectors(answer: dict[str, Any], count: int) -> list[list[float]]:
    """The vectors of a server's answer, in the order of the texts. Raises ValueError."""
    rows = answer["data"]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("its data are no embeddings")
    rows = sorted(rows, key=lambda row: row.get("index", 0))
    if [row.get("index") for row in rows] != list(range(count)):
        raise ValueError(f"it gave {len(rows)} embeddings for {count} texts")
    vectors = [row.get("embedding") for row in rows]
    for vector in vectors:
        if not isinstance(vector, list) or not vector or not all(map(_number, vector)):
            raise ValueError("an embedding is no list of numbers")
    return vectors


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _pooling(folder: Path) -> Pooling:
    """How the folder says that tokens become one vector. Raises ValueError for another way."""
    path = folder / _POOLING_FILE
    if not path.is_file():
        return "mean"
    said = json.loads(path.read_bytes())
    if "pooling_mode" in said:
        modes = [str(said["pooling_mode"])]
    else:
        modes = [key for key, value in said.items() if key.startswith("pooling_mode") and value]
    known = {**_POOLING_KEYS, "mean": "mean", "cls": "cls", "lasttoken": "last"}
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(f"{_POOLING_FILE} asks for {', '.join(modes) or 'no pooling'}")
    return known[modes[0]]  # type: ignore[return-value]


def _files_hash(folder: Path) -> str:
    """SHA-256 over the model's files: configuration, tokenizer, weights, pooling."""
    patterns = ("*.json", "*.safetensors", "*.txt", "*.model", str(_POOLING_FILE))
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    listed = "\n".join(f"{file.name} {sha256_file(file)}" for file in files)
    return content_hash(listed.encode())
