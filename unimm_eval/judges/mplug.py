"""mPLUG, the official judge of DPG-Bench: a network that answers questions about pictures.

It runs through modelscope (an extra), whose copy of its weights is a pickle that torch reads with
`weights_only`. It reads no instruction: the question is all that it is asked, and modelscope cuts
that after 25 tokens. Its answers are words of its own; by the benchmark's rule one that is exactly
"yes" is a yes and every other one is a no.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from unimm_eval.api import Picture, PictureError, UserError, stable_hash
from unimm_eval.data import sha256_file
from unimm_eval.judges.contract import Answer, Question
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.judges.weights import resolve_device

NAME = "mplug"
MODEL = "damo/mplug_visual-question-answering_coco_large_en"
_FILES = (".bin", ".json", ".txt", ".yaml")
"""What an answer depends on: weights, configurations and vocabulary."""
_WEIGHTS = "pytorch_model.bin"

Ask = Callable[[Any, str], str]
"""What the network says of a PIL picture and a question."""


class MPlugJudge:
    """The network in `folder`; it is loaded when the first question comes."""

    summary: ClassVar[str] = "mPLUG by modelscope, DPG-Bench's official judge"
    examples: ClassVar[tuple[str, ...]] = (NAME, f"{NAME}:FOLDER")
    varies = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted(path for path in folder.iterdir() if path.suffix in _FILES)
        hashes = [[path.name, sha256_file(path)] for path in files]
        self.identity = f"{NAME} {MODEL} {stable_hash(hashes)}"

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec == NAME or spec.startswith(f"{NAME}:")

    @classmethod
    def open(cls, spec: str, settings: JudgeSettings) -> "MPlugJudge":
        """The judge in the named folder, else in modelscope's cache, into which it is fetched.

        No limit of `settings` applies to it. Raises UserError without modelscope or the weights.
        """
        if find_spec("modelscope") is None:
            raise UserError(
                "The judge mplug needs modelscope, which is not installed.",
                fix="pip install 'unimm-eval[modelscope]', or name another judge.",
            )
        named = spec.removeprefix(NAME).removeprefix(":")
        folder = Path(named).expanduser() if named else _fetched()
        if not (folder / _WEIGHTS).is_file():
            raise UserError(f"{folder} does not hold mPLUG: there is no {_WEIGHTS}.", fix=_OBTAIN)
        return cls(folder)

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """Answers in order. A picture that does not decode costs the questions about it."""
        ask: Ask | None = None
        shown: Picture | None = None
        image: Any = None
        for question in questions:
            picture, text = _asked(question)
            try:
                if picture is not shown:
                    image, shown = _image(picture), picture
            except PictureError as error:
                yield Answer(key=question.key, error=error.what)
                continue
            ask = ask or _load(self._folder)
            said = ask(image, text)
            yield Answer(
                key=question.key,
                text="yes" if said == "yes" else "no",
                log={"question": text, "response": said},
            )


_OBTAIN = (
    f"Where there is a network: modelscope download --model {MODEL} --local_dir FOLDER\n"
    f"Then name that folder: judge={NAME}:FOLDER"
)


def _fetched() -> Path:
    """Modelscope's own copy. Raises UserError when there is none and none can be fetched."""
    from modelscope.hub.snapshot_download import snapshot_download

    try:
        try:
            return Path(snapshot_download(MODEL, local_files_only=True))
        except ValueError:  # not in the cache
            return Path(snapshot_download(MODEL))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{MODEL} is not in modelscope's cache and cannot be fetched: {error}", fix=_OBTAIN
        ) from error


def _load(folder: Path) -> Ask:
    """Raises UserError when what modelscope needs besides itself is not there."""
    try:
        from modelscope.pipelines import pipeline
        from modelscope.utils.constant import Tasks
    except ImportError as error:
        raise UserError(
            f"modelscope cannot be used: {error}",
            fix="pip install 'unimm-eval[modelscope]', or name another judge.",
        ) from error
    device = resolve_device("auto")
    answer = pipeline(Tasks.visual_question_answering, model=str(folder), device=device)
    return lambda image, text: answer({"image": image, "question": text})["text"]


def _asked(question: Question) -> tuple[Picture, str]:
    """The picture and the text of a question. Raises ValueError for other parts."""
    match question.parts:
        case (Picture() as picture, str(text)) | (str(text), Picture() as picture):
            return picture, text
    raise ValueError("mPLUG answers one question about one picture")


def _image(picture: Picture) -> Any:
    from PIL import Image

    return Image.fromarray(picture.load())
