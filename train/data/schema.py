"""Sources as a recipe declares them: `sources: {NAME: {kind: …}}`.

Paths are relative to the folder that the command is given in. A path is a file, a folder, or a
pattern such as `dclm/*.jsonl`; files are read in the order of their names.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimm_eval.world.nwm_datasets import DATASETS

_PLACES = {"path", "images", "videos", "trajectories"}


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str | None = Field(
        None, description="of the content; filled in in a run's copy of its recipe"
    )

    def identity(self) -> dict[str, Any]:
        """What decides its documents: where they lie does not."""
        assert self.fingerprint is not None
        return {**self.settings(), "fingerprint": self.fingerprint}

    def settings(self) -> dict[str, Any]:
        """Everything but the content and where it lies."""
        return self.model_dump(mode="json", exclude={*_PLACES, "fingerprint"}, exclude_none=True)


class TextSource(_Source):
    """Texts to be continued, cut at the end of a row and gone on with in another one."""

    kind: Literal["text"]
    path: str | None = Field(
        None, description="JSONL (also .gz, .zst), parquet, or a data set that `datasets` saved"
    )
    dataset: str | None = Field(None, description="ORG/NAME of a data set on the Hugging Face hub")
    revision: str | None = Field(
        None, pattern="^[0-9a-f]{40}$", description="commit of that data set"
    )
    subset: str | None = Field(None, description="configuration of that data set")
    split: str = Field("train", description="of that data set")
    field: str = Field("text", description="column or key that the text stands in")

    @model_validator(mode="after")
    def _one_place(self) -> "TextSource":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        if (self.dataset is None) != (self.revision is None):
            raise ValueError("dataset and revision go together: a data set is pinned by its commit")
        if self.dataset is None and (self.subset is not None or self.split != "train"):
            raise ValueError("subset and split are of a dataset, not of a path")
        return self


class CaptionsSource(_Source):
    """Pictures with captions, to be drawn from their captions or told in words."""

    kind: Literal["captions"]
    path: str = Field(
        description="folder of pictures, JSONL (`image` or `file_name`, and the caption), or tar "
        "shards of pictures with a .txt or .json of the same name"
    )
    images: str | None = Field(
        None, description="folder that a JSONL's pictures are in, where it is not its own"
    )
    field: str = Field("caption", description="key that the caption stands in, in JSON")
    direction: Literal["text_to_image", "image_to_text", "both"] = Field(
        "text_to_image", description="what is learned from what"
    )
    text_to_image_share: float = Field(
        0.5, ge=0, le=1, description="of the documents, with direction: both"
    )

    @model_validator(mode="after")
    def _share_of_both(self) -> "CaptionsSource":
        if self.direction != "both" and self.text_to_image_share != 0.5:
            raise ValueError("text_to_image_share means nothing without direction: both")
        return self

    @property
    def drawn_share(self) -> float:
        """Share of the documents that go from text to image."""
        if self.direction == "both":
            return self.text_to_image_share
        return float(self.direction == "text_to_image")


class VideoSource(_Source):
    """Videos as sequences of frames, cut between frames where a row is full."""

    kind: Literal["video"]
    path: str = Field(
        description="folder of video files, or JSONL (`video`, and `caption` with captions)"
    )
    videos: str | None = Field(
        None, description="folder that a JSONL's videos are in, where it is not its own"
    )
    frames_per_second: float = Field(1.0, gt=0, description="frames taken from a second of video")
    captions: bool = Field(
        False, description="whether the text of a video (.txt beside it, or JSONL) is before it"
    )


class ActionsSource(_Source):
    """Frames, an action in words, and the frames that it leads to (paper, appendix G.3): what
    `unimm-train annotate-actions` writes."""

    kind: Literal["actions"]
    path: str = Field(description="JSONL: `before` and `after`, 1 to 4 frames each, and `action`")
    images: str | None = Field(
        None, description="folder that the frames are in, where it is not the file's own"
    )
    vary: bool = Field(
        True, description="use 1 to all of a row's frames on either side, drawn once for each row"
    )


class NavigationSource(_Source):
    """Trajectories of robots in the layout of NWM: 4 frames, an action as text, the frame after."""

    kind: Literal["navigation"]
    path: str = Field(description="folder of trajectories: 0.jpg, 1.jpg, … and traj_data.pkl each")
    dataset: str = Field(description="name of the data set, which says how long a waypoint is")
    trajectories: str | None = Field(
        None, description="file of the names of those to use, one a line; all of them without it"
    )
    distance: tuple[int, int] = Field(
        (1, 8), description="least and most frames from the last one seen to the one to predict"
    )

    @model_validator(mode="after")
    def _known(self) -> "NavigationSource":
        if self.dataset not in DATASETS:
            raise ValueError(f"no data set {self.dataset!r}; there are {', '.join(DATASETS)}")
        if not 1 <= self.distance[0] <= self.distance[1]:
            raise ValueError(f"distance {self.distance} is not from 1 or more to as much or more")
        return self


class ConversationsSource(_Source):
    """Questions about pictures and their answers, as LLaVA's and Cambrian's files have them; only
    answers are trained on."""

    kind: Literal["conversations"]
    path: str = Field(description="JSONL: `conversations`, and `image` where there is one")
    images: str | None = Field(
        None, description="folder that the pictures are in, where it is not the file's own"
    )


SourceSpec = Annotated[
    TextSource
    | CaptionsSource
    | VideoSource
    | ActionsSource
    | NavigationSource
    | ConversationsSource,
    Field(discriminator="kind"),
]
