"""Checkpoints of ours: `demo`, or the path of a checkpoint folder."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unimm_eval.adapters.windows import Window, rolling_windows
from unimm_eval.api import (
    CAPABILITIES,
    READS_PICTURES,
    ChatRequest,
    ContinuationRequest,
    DenoiseRequest,
    DocumentRequest,
    FlowLoss,
    ImageRequest,
    Lineage,
    Picture,
    PictureFeatures,
    Request,
    SampleError,
    TextScore,
    UserError,
    stable_hash,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from unimm_eval.adapters.unimm_frames import CheckpointFrames
    from unimm_eval.model.checkpoint import Checkpoint, CheckpointFiles
    from unimm_eval.model.encoders import Encoder
    from unimm_eval.model.sequence import PictureSegment, TextSegment

DEMO = Path(__file__).parent.parent / "model" / "demo"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
PASS_TOKENS = 8192
"""Tokens, padding included, that one forward pass scores: a batch of long documents is many
windows, and all of them at once would not fit in memory."""
PASS_LOGITS = 2**25
"""Logits that are held at once; a large vocabulary would need more than the model itself."""


class UnimmCheckpoint:
    """A unified model of ours, with every capability it was trained for."""

    summary = "checkpoints of unimm-train: the embedded demo, or a folder"
    examples = ("demo", "path/to/checkpoint")
    capabilities = frozenset({*CAPABILITIES, READS_PICTURES})

    def __init__(self, checkpoint: "Checkpoint", *, name: str, untrained: bool = False) -> None:
        """`untrained` says that the weights are not those of the checkpoint's files but those
        that training begins with. Raises UserError when the frozen encoder cannot be loaded."""
        from unimm_eval.adapters.unimm_chat import Chat
        from unimm_eval.adapters.unimm_features import LayerReader
        from unimm_eval.adapters.unimm_scores import TextScores
        from unimm_eval.model.encoders import reread

        self._model = checkpoint.model
        self._tokenizer = checkpoint.tokenizer
        self._files = checkpoint.files
        weight = checkpoint.model.embedding.weight
        with _encoder_problems():
            self._encoder = checkpoint.files.encoder.load(device=weight.device, dtype=weight.dtype)
        self._model.reread = reread(self._encoder)
        self._name, self._untrained = name, untrained
        self._chat = Chat(self._model, self._tokenizer, show=self._clean, fits=self._check_fits)
        self._scores = TextScores(self._model, pad=self._tokenizer.pad, pack=self._pack)
        self._layers = LayerReader(
            self._model,
            self._tokenizer,
            self._encoder.reader,
            pack=self._pack,
            pass_tokens=PASS_TOKENS,
        )

    @classmethod
    def matches(cls, spec: str) -> bool:
        if spec == "demo":
            return True
        path = Path(spec)
        return (
            path.suffix in (*PICKLED, ".safetensors") or path.is_dir() or "/" in spec.split(":")[0]
        )

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        files = _read(_folder(spec))
        with _encoder_problems():
            files.encoder.check()
        writes = {"ScoresText", "GeneratesText", READS_PICTURES}
        always = writes | {"DenoisesImages", "ExposesFeatures", "HasTwin"}
        draws = {"GeneratesImages", "PredictsFrames"} if files.encoder.decodes else set[str]()
        routes = {"ExposesRouting"} if files.config.feed_forward == "moe" else set[str]()
        return frozenset({*always, *draws, *routes})

    @classmethod
    def lineage(cls, spec: str) -> Lineage:
        files = _read(_folder(spec))
        return Lineage.of_training(files.fingerprint, files.training)

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "UnimmCheckpoint":
        """`dtype` "auto" is float32 on a CPU and bfloat16 elsewhere. Raises UserError."""
        import torch

        from unimm_eval.adapters.unimm_routing import UnimmMixture
        from unimm_eval.model.allocator import keep_freed_memory
        from unimm_eval.model.checkpoint import CheckpointError, load_checkpoint

        folder = _folder(spec)
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        keep_freed_memory()
        try:
            checkpoint = load_checkpoint(
                folder, device=torch.device(device), dtype=getattr(torch, dtype)
            )
        except CheckpointError as error:
            raise UserError(str(error), fix=_FIX) from error
        made = UnimmMixture if checkpoint.files.config.feed_forward == "moe" else cls
        return made(checkpoint, name="demo" if spec == "demo" else folder.resolve().name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def fingerprint(self) -> str:
        of_files = self._files.fingerprint
        return stable_hash([of_files, "untrained"], length=64) if self._untrained else of_files

    def twin(self) -> "UnimmCheckpoint":
        return self if self._untrained or "twin_of" in self._files.training else self._twin

    @cached_property
    def _twin(self) -> "UnimmCheckpoint":
        """As `unimm-train twin` would write it and `load` read it."""
        from unimm_eval.model.checkpoint import Checkpoint, untrained_model

        weight = self._model.embedding.weight
        model = untrained_model(self._files, device=weight.device, dtype=weight.dtype)
        twin = Checkpoint(files=self._files, model=model, tokenizer=self._tokenizer)
        return type(self)(twin, name=f"untrained {self._name}", untrained=True)

    def describe(self) -> Mapping[str, Any]:
        from unimm_eval.model.counts import count_parameters

        config = self._files.config
        return {
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "active_parameters": count_parameters(config).active,
            "vocab_size": config.vocab_size,
            "max_length": config.max_length,
            "encoder": self._encoder.to_json(),
            "latents": self._latent_identity(),
            "architecture": config.to_json(),
            "training": self._files.training,
        }

    def _latent_identity(self) -> str:
        """What tells the latents that pictures are generated in from those of other encoders."""
        from unimm_eval.model.encoders import encoder_identity

        values = self._encoder.to_json()
        return stable_hash(encoder_identity(values.get("generating", values)))

    def score_continuations(self, requests: Sequence[ContinuationRequest]) -> list[TextScore]:
        """Spaces that end a context belong to its continuation, as with lm-eval; token boundaries
        are those of both together; a context that does not fit loses its beginning."""
        limit = self._files.config.max_length
        windows = []
        for request in requests:
            context = request.context.rstrip()
            before = [self._tokenizer.bos, *self._tokenizer.encode(context)]
            whole = self._tokenizer.encode(request.context + request.continuation)
            after = whole[len(before) - 1 :]
            if not 0 < len(after) <= limit:
                raise SampleError(
                    f"sample {request.sample_id}: a continuation of {len(after)} tokens cannot be "
                    f"scored by a model of {limit} tokens"
                )
            room = limit + 1 - len(after)  # the last token is predicted, not given
            windows.append(Window(context=before[-room:], scored=after))
        return [
            TextScore(
                nats=nats,
                tokens=len(window.scored),
                bytes=len(request.continuation.encode()),
                is_greedy=greedy,
            )
            for request, window, (nats, greedy) in zip(
                requests, windows, self._scores.score(windows), strict=True
            )
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(self._tokenizer.encode(text)) for text in texts]

    def score_documents(self, requests: Sequence[DocumentRequest]) -> list[TextScore]:
        windows: list[Window] = []
        counts, tokens = [], []
        for request in requests:
            ids = self._tokenizer.encode(request.text)
            cut = rolling_windows(
                ids,
                prefix=self._tokenizer.bos,
                max_length=min(request.max_length, self._files.config.max_length),
                overlap=request.overlap,
            )
            windows += cut
            counts.append(len(cut))
            tokens.append(len(ids))
        scored = iter(self._scores.score(windows))
        results = []
        for request, count, length in zip(requests, counts, tokens, strict=True):
            parts = [next(scored) for _ in range(count)]
            results.append(
                TextScore(
                    nats=math.fsum(nats for nats, _ in parts),
                    tokens=length,
                    bytes=len(request.text.encode()),
                    is_greedy=all(greedy for _, greedy in parts),
                )
            )
        return results

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        """Raises SampleError for one that does not fit the model together with its answer."""
        return self._chat.answers(requests)

    def generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        from unimm_eval.model.generate import generate_pictures

        for request in requests:
            length = len(self._tokenizer.encode(request.prompt)) + 2
            self._check_fits(request, length + self._files.config.latent_tokens)
        results: dict[int, np.ndarray] = {}
        for (scale, steps, solver), rows in _grouped(
            requests, lambda r: (r.guidance_scale, r.num_inference_steps, r.solver)
        ).items():
            latents = generate_pictures(
                self._model,
                self._tokenizer,
                [requests[row].prompt for row in rows],
                seeds=[requests[row].seed for row in rows],
                guidance_scale=scale,
                num_inference_steps=steps,
                solver=solver,
            )
            results.update(zip(rows, self._decode(latents), strict=True))
        return [results[row] for row in range(len(requests))]

    def open_context(self, frames: Sequence[Picture]) -> "CheckpointFrames":
        """Frames as the document `<bos> <boi> frame <eoi> …` that rollouts go on from. Raises
        UserError when they do not fit."""
        from unimm_eval.adapters.unimm_frames import CheckpointFrames

        return CheckpointFrames(
            self._model,
            self._tokenizer,
            [self._clean(frame) for frame in frames],
            decode=self._decode,
            name=self._name,
        )

    def features(
        self, pictures: Sequence[Picture], *, pool: Literal["mean", "tokens"]
    ) -> PictureFeatures:
        """Layers of a dual encoder are those of the one that pictures are understood by."""
        return self._layers.features(pictures, pool=pool)

    def flow_losses(self, requests: Sequence[DenoiseRequest]) -> list[FlowLoss]:
        import torch

        from unimm_eval.model import flow

        documents = self._denoise_documents(requests)
        times = [document[-1].t for document in documents]
        batch = self._pack(documents)
        with torch.inference_mode():
            t_I11 = batch.t_I[:, None, None]
            z_ITC = flow.noisy(batch.latents_ITC, batch.noise_ITC, t_I11)
            hidden_BSD = self._model.hidden(batch, z_ITC)
            picked = hidden_BSD.flatten(0, 1)[batch.index_IT.flatten()]
            out_ITC = self._model.latent_out(picked).view_as(z_ITC)
            velocity = self._model.velocity(out_ITC, z_ITC, t_I11, clamp=0.0)
            target = batch.latents_ITC - batch.noise_ITC
            loss_I = (velocity - target).square().mean((1, 2)).tolist()
            blank_I = (batch.latents_ITC / (1 - t_I11)).square().mean((1, 2)).tolist()
        return [
            FlowLoss(loss=loss, t=t, blank=blank)
            for loss, t, blank in zip(loss_I, times, blank_I, strict=True)
        ]

    def _denoise_documents(
        self, requests: Sequence[DenoiseRequest]
    ) -> "list[tuple[TextSegment, PictureSegment]]":
        """Caption and noisy picture of each request. Raises UserError when one does not fit."""
        import torch

        from unimm_eval.model import flow
        from unimm_eval.model.generate import seeded_noise
        from unimm_eval.model.sequence import PictureSegment, TextSegment

        config, tokenizer = self._files.config, self._tokenizer
        noise = seeded_noise(
            [request.seed for request in requests],
            tokens=config.latent_tokens,
            channels=config.latent_channels,
        )
        u = torch.tensor([request.u for request in requests], dtype=torch.float64)
        times = flow.shift_time(u, self._model.alpha).float()
        documents = []
        for request, t, eps in zip(requests, times, noise, strict=True):
            ids = [tokenizer.bos, *tokenizer.encode(request.caption), tokenizer.boi]
            self._check_fits(request, len(ids) + config.latent_tokens)
            picture = PictureSegment(
                latents=self._latents(self._encoder, request.picture),
                t=float(t),
                noise=eps.numpy(),
                flow=True,
            )
            documents.append((TextSegment(ids=ids, loss=False), picture))
        return documents

    def _check_fits(self, request: Request, length: int) -> None:
        limit = self._files.config.max_length
        if length > limit:
            raise SampleError(
                f"Sample {request.sample_id} needs {length:,} tokens, but {self._name} has room "
                f"for {limit:,}.",
                fix="Leave it out, or judge a model with room for more.",
            )

    def _pack(self, documents: Sequence[Any]) -> Any:
        """One document a row, on the model's device."""
        from unimm_eval.model.sequence import document_length, pack

        config = self._files.config
        return pack(
            [[document] for document in documents],
            length=max(document_length(document) for document in documents),
            pad=self._tokenizer.pad,
            grid_tokens=config.latent_tokens,
            channels=config.latent_channels,
            understanding_channels=config.understanding_channels,
        ).to(self._device)

    @property
    def _device(self) -> Any:
        return self._model.embedding.weight.device

    def _clean(self, picture: Picture) -> "PictureSegment":
        """The picture as it is shown to be understood."""
        from unimm_eval.model.sequence import PictureSegment

        return PictureSegment(
            latents=self._latents(self._encoder.reader, picture),
            understanding=self._encoder.understanding_channels > 0,
        )

    def _latents(self, encoder: "Encoder", picture: Picture) -> "np.ndarray":
        """fp32 [T, C]."""
        import numpy as np
        import torch

        pixels: Tensor = encoder.fit(torch.from_numpy(np.array(picture.load())))
        return encoder.encode(pixels[None])[0].numpy()

    def _decode(self, latents: "Tensor") -> "np.ndarray":
        """[I, T, C] → uint8 [I, height, width, 3]."""
        return self._encoder.decode(latents.float().cpu()).numpy()


_FIX = "Export the checkpoint again with `unimm-train export`."


def _folder(spec: str) -> Path:
    """The folder of a spec. Raises UserError when there is none that may be read."""
    if spec == "demo":
        return DEMO
    path = Path(spec)
    if path.suffix in PICKLED:
        raise UserError(
            f"{spec}: pickled checkpoints are not read, because opening one can run any code.",
            fix="Convert it to safetensors: `unimm-train export` makes a checkpoint folder.",
        )
    if path.is_file() and path.suffix == ".safetensors":
        path = path.parent
    if not path.is_dir():
        raise UserError(f"{spec}: there is no such folder.", fix="Give the folder of a checkpoint.")
    return path


def _read(folder: Path) -> "CheckpointFiles":
    from unimm_eval.model.checkpoint import CheckpointError, read_checkpoint

    try:
        return read_checkpoint(folder)
    except CheckpointError as error:
        raise UserError(str(error), fix=_FIX) from error


@contextmanager
def _encoder_problems() -> Iterator[None]:
    """What is wrong with a checkpoint's frozen encoder, as UserError."""
    from unimm_eval.model.encoders import MissingWeights

    try:
        yield
    except MissingWeights as error:
        raise UserError(f"The checkpoint's encoder: {error.what}", fix=error.fix) from error
    except ValueError as error:
        raise UserError(
            f"The checkpoint's encoder: {error}",
            fix="Give it the weights that it was trained with.",
        ) from error


def _grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> dict[Any, list[int]]:
    """Indices of items by key, in order."""
    groups: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    return groups
