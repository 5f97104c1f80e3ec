"""What a model under evaluation can do, as batched protocols.

A model is any object with a `name`, a `fingerprint` and one or more of the capabilities below.
Every method takes a sequence of requests and returns results in the same order. A request says
everything its answer may depend on, so equal requests have equal answers whatever they are
batched with; random numbers come from `seed` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from unimm_eval.api.pictures import Picture

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Request:
    """Whose answer is asked for, and the seed of its random numbers."""

    sample_id: str
    repeat: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ContinuationRequest(Request):
    """Log-likelihood of `continuation` after `context`."""

    context: str
    continuation: str


@dataclass(frozen=True, kw_only=True)
class DocumentRequest(Request):
    """Log-likelihood of a whole document in rolling windows.

    `max_length` is the window in tokens of the model (at most what the model allows) and
    `overlap` how many of them are context repeated from the window before.
    """

    text: str
    max_length: int
    overlap: int = 0


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """`nats` = −log p; `tokens` of the model's tokenizer and UTF-8 `bytes` that were scored."""

    nats: float
    tokens: int
    bytes: int
    is_greedy: bool = False


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What was asked earlier in a conversation, and what was answered."""

    parts: tuple[str | Picture, ...]
    answer: str


@dataclass(frozen=True, kw_only=True)
class ChatRequest(Request):
    """A question of interleaved text and pictures, behind the turns of `history`.

    With `choices` the answer is one of them (guided decoding); otherwise text up to the first of
    `stop` or `max_new_tokens`. `temperature` 0 is greedy; above it tokens are drawn from the
    smallest set that holds `top_p` of the probability. Without `template` the parts are continued
    as they are, not put in the model's chat template: text then loses its beginning where it does
    not fit, and there is no history (ValueError).
    """

    parts: tuple[str | Picture, ...]
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 64
    temperature: float = 0.0
    choices: tuple[str, ...] | None = None
    top_p: float = 1.0
    history: tuple[Turn, ...] = ()
    template: bool = True

    def __post_init__(self) -> None:
        if self.history and not self.template:
            raise ValueError("without a template there are no turns: history must be empty")


Solver = Literal["euler", "heun"]
"""How a flow is followed from noise to data; one step of Heun's method asks twice."""


@dataclass(frozen=True, kw_only=True)
class ImageRequest(Request):
    """A picture of `prompt`; `key` is the benchmark's own id, `repeat` the index of the picture."""

    prompt: str
    key: str
    guidance_scale: float
    num_inference_steps: int
    solver: Solver = "euler"


@dataclass(frozen=True, kw_only=True)
class DenoiseRequest(Request):
    """Flow loss of a picture under its caption.

    `u` in (0, 1) is the uniform time before the model's own noise shift (0 = noise, 1 = data);
    the noise comes from `seed`.
    """

    picture: Picture
    caption: str
    u: float


@dataclass(frozen=True, kw_only=True)
class FlowLoss:
    """Mean over latent elements of ‖v̂ − (z0 − ε)‖² (paper eq. 2), unclamped for v- and x-pred.

    `t` is the shifted time; `blank` is the loss of predicting z0 = 0 at the same (t, ε), which is
    mean(z0²) / (1 − t)².
    """

    loss: float
    t: float
    blank: float


@dataclass(frozen=True, kw_only=True)
class CaptionRequest(Request):
    """A clean picture and the caption that follows it: a picture that is understood."""

    picture: Picture
    caption: str


@dataclass(frozen=True, kw_only=True)
class RoutingCounts:
    """How often the routers chose each expert for the tokens of a request.

    `counts` is int64 [layer, routed expert, modality, t-bin, purpose]; a token adds `top_k` to each
    layer, so N·k of a selection rate C / (N·k) is the sum over experts (paper eq. 7). Experts that
    every token passes through (shared ones) are not chosen and not counted.

    The axes are named by `modalities`, `purposes` (what is done with the token's document: "text"
    for a DocumentRequest, "generation" for a DenoiseRequest, "understanding" for a CaptionRequest)
    and equal bins of the time t from 0 to 1 at which a picture is shown, of which the last holds
    t = 1, a clean picture. Text has no time and stands in bin 0.
    """

    counts: "np.ndarray"
    top_k: int
    modalities: tuple[str, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PictureFeatures:
    """What stands in a model's layers when it is shown pictures, clean, to understand them.

    `stacks` are the layers by where they are: "encoder" (the frozen encoder, whose last layer is
    what the backbone is given) and "backbone"; float32 [picture, layer, width], means over the
    tokens of the picture, or [picture, layer, token, width], tokens row by row from top left.
    `pixels` is what the encoder was shown: uint8 [picture, side, side, 3].
    """

    stacks: "Mapping[str, np.ndarray]"
    pixels: "np.ndarray"


@runtime_checkable
class Model(Protocol):
    """The least that every model under evaluation has."""

    @property
    def name(self) -> str:
        """Short name for tables and run folders."""

    @property
    def fingerprint(self) -> str:
        """Identity of the weights and everything else the answers depend on."""

    def describe(self) -> Mapping[str, Any]:
        """Facts for the record (parameters, encoder, …), JSON-able."""


@runtime_checkable
class ScoresText(Protocol):
    def score_continuations(self, requests: Sequence[ContinuationRequest]) -> list[TextScore]: ...

    def score_documents(self, requests: Sequence[DocumentRequest]) -> list[TextScore]: ...


@runtime_checkable
class GeneratesText(Protocol):
    """Of a model whose attribute `reads_pictures` is False, text from text alone; any other can be
    shown pictures between it, which is the capability "ReadsPictures" (`READS_PICTURES`)."""

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]: ...


@runtime_checkable
class CountsTokens(Protocol):
    """What a model that scores or writes text may have besides: no task needs it."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with those that the model puts before it."""


@runtime_checkable
class GeneratesImages(Protocol):
    def generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        """One uint8 [height, width, 3] array a request."""


@runtime_checkable
class DenoisesImages(Protocol):
    def flow_losses(self, requests: Sequence[DenoiseRequest]) -> list[FlowLoss]: ...


class FrameContext(Protocol):
    """Context frames, encoded once and shared by many action sequences."""

    def rollout(
        self,
        actions: Sequence[Sequence[str]],
        *,
        seeds: Sequence[int],
        keep: Literal["last", "all"] = "last",
        guidance_scale: float = 3.0,
        num_inference_steps: int = 25,
        solver: Solver = "euler",
    ) -> "np.ndarray":
        """uint8 [sequence, kept frame, height, width, 3]: the last frame, or one an action.

        All sequences have the same number of actions; `seeds` has one number a sequence.
        """


@runtime_checkable
class PredictsFrames(Protocol):
    def open_context(self, frames: Sequence[Picture]) -> FrameContext: ...


@runtime_checkable
class ExposesFeatures(Protocol):
    def features(
        self, pictures: Sequence[Picture], *, pool: Literal["mean", "tokens"]
    ) -> PictureFeatures:
        """All layers, of the frozen encoder and of the backbone, in one pass over the pictures.
        Raises PictureError for a picture that cannot be looked at."""


@runtime_checkable
class ExposesRouting(Protocol):
    def routing(
        self, requests: Sequence[DocumentRequest | DenoiseRequest | CaptionRequest]
    ) -> list[RoutingCounts]:
        """One a request. Raises SampleError for a request that the model cannot be given."""


@runtime_checkable
class HasTwin(Protocol):
    def twin(self) -> "Model":
        """The same model before it learned anything: equal in configuration, tokenizer and frozen
        encoder, its weights those that training begins with. It is made once, and is its own
        twin."""


class Adapter(Protocol):
    """What an entry point of the group `unimm_eval.models` names: a class that makes models.

    Its module must import quickly; everything heavy is imported by `load`.
    """

    summary: ClassVar[str]
    """One line for the list of models."""
    examples: ClassVar[tuple[str, ...]]
    """Specs that it accepts, for the list of models and for the nearest name in messages."""

    capabilities: ClassVar[frozenset[str]]
    """Names of all that a model of this kind may be able to do, for the list of models."""

    @classmethod
    def matches(cls, spec: str) -> bool:
        """Whether `spec` is its to load."""

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        """Names of what the model will be able to do, without loading it. Raises UserError."""

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> Model:
        """`dtype` is a name of torch's, or "auto" for the model's own choice. Raises UserError."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A model's fingerprint, and those of the models it was finetuned from, nearest first."""

    fingerprint: str
    parents: tuple[str, ...] = ()

    @classmethod
    def of_training(cls, fingerprint: str, training: object) -> "Lineage":
        """From a `training.json`: its `parent`, and that one's own as `ancestors`."""
        facts = training if isinstance(training, Mapping) else {}
        ancestors = facts.get("ancestors")
        named = [facts.get("parent"), *(ancestors if isinstance(ancestors, list) else ())]
        parents = tuple(name for name in named if isinstance(name, str))
        return cls(fingerprint=fingerprint, parents=parents)


@runtime_checkable
class TellsLineage(Protocol):
    """What an adapter may have besides: it says where a model comes from, loading none."""

    @classmethod
    def lineage(cls, spec: str) -> Lineage:
        """Raises UserError."""


READS_PICTURES = "ReadsPictures"
"""Name of what a model that writes text has where it can be asked about pictures."""

CAPABILITIES: dict[str, type] = {
    "ScoresText": ScoresText,
    "GeneratesText": GeneratesText,
    "GeneratesImages": GeneratesImages,
    "DenoisesImages": DenoisesImages,
    "PredictsFrames": PredictsFrames,
    "ExposesFeatures": ExposesFeatures,
    "ExposesRouting": ExposesRouting,
    "HasTwin": HasTwin,
}


def capabilities_of(model: object) -> frozenset[str]:
    """Names of the capabilities that `model` (an object or a class) implements."""
    found = {
        name
        for name, protocol in CAPABILITIES.items()
        if all(
            callable(getattr(model, method, None))
            for method in vars(protocol)
            if not method.startswith("_")
        )
    }
    if "GeneratesText" in found and getattr(model, "reads_pictures", True):
        found.add(READS_PICTURES)
    return frozenset(found)
