"""Frames to look at: film strips and sheets as one picture, GIFs and videos.

Small frames are enlarged by whole numbers and without smoothing, so that pixels stay pixels.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TILE = 128
"""Pixels that a frame has at least, on its longer side."""
_GAP, _TEXT, _TITLE = 6, 14, 96
_PAPER, _INK = (235, 235, 235), (30, 30, 30)
ENCODERS = ("libx264", "libopenh264", "h264", "mpeg4")
"""Names of video encoders, the ones preferred first."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Frames uint8 [height, width, 3] side by side: what they are, and a caption under each. A
    frame that is None leaves its place free."""

    title: str
    frames: Sequence[np.ndarray | None]
    captions: Sequence[str]


def sheet(rows: Sequence[Row]) -> np.ndarray:
    """One picture of all rows, uint8 [height, width, 3]. All frames are shown at the size of the
    first one."""
    from PIL import Image, ImageDraw

    first = next(frame for row in rows for frame in row.frames if frame is not None)
    height, width = enlarged(first).shape[:2]
    columns = max(len(row.frames) for row in rows)
    line = height + _TEXT + _GAP
    page = Image.new(
        "RGB", (_TITLE + columns * (width + _GAP) + _GAP, len(rows) * line + _GAP), _PAPER
    )
    pen = ImageDraw.Draw(page)
    for down, row in enumerate(rows):
        top = _GAP + down * line
        for number, part in enumerate(_wrapped(row.title, _TITLE - 2 * _GAP)):
            pen.text((_GAP, top + number * _TEXT), part, fill=_INK)
        for right, (frame, caption) in enumerate(zip(row.frames, row.captions, strict=True)):
            if frame is None:
                continue
            left = _TITLE + right * (width + _GAP)
            tile = Image.fromarray(enlarged(frame))
            page.paste(tile.resize((width, height), Image.Resampling.NEAREST), (left, top))
            pen.text((left, top + height + 1), _shortened(caption, width), fill=_INK)
    return np.asarray(page)


def enlarged(frame: np.ndarray, *, least: int = TILE) -> np.ndarray:
    """The frame, each pixel as a square, so that its longer side has `least` pixels or more."""
    times = -(-least // max(frame.shape[:2]))
    return np.repeat(np.repeat(frame, times, axis=0), times, axis=1)


def gif(frames: Sequence[np.ndarray], *, seconds: float) -> bytes:
    """An endless film, each frame so long; colours are GIF's 256 of the frame."""
    from PIL import Image

    pictures = [Image.fromarray(enlarged(frame)) for frame in frames]
    out = io.BytesIO()
    pictures[0].save(
        out,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(seconds * 1000),
        loop=0,
    )
    return out.getvalue()


class NoEncoder(Exception):
    """No video can be written here: the message says why."""


def write_mp4(path: Path, frames: Sequence[np.ndarray], *, frames_per_second: int) -> str:
    """Write a video; the name of the encoder. Raises NoEncoder where PyAV has none of ENCODERS."""
    try:
        import av
    except ImportError as error:
        raise NoEncoder(f"PyAV cannot be imported ({error})") from error
    encoder = next((name for name in ENCODERS if _can_encode(name)), None)
    if encoder is None:
        raise NoEncoder(f"PyAV has none of the encoders {', '.join(ENCODERS)}")
    large = [_even(enlarged(frame, least=2 * TILE)) for frame in frames]
    height, width = large[0].shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(encoder, rate=frames_per_second)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in large:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return encoder


def _can_encode(name: str) -> bool:
    import av

    try:
        return bool(av.Codec(name, "w").is_encoder)
    except ValueError:  # PyAV's UnknownCodecError is one
        return False


def _even(frame: np.ndarray) -> np.ndarray:
    """Of an even height and width, as 4:2:0 colours need: an odd last row or column goes."""
    height, width = frame.shape[:2]
    return frame[: height // 2 * 2, : width // 2 * 2]


def _shortened(text: str, width: int) -> str:
    if _length(text) <= width:
        return text
    while text and _length(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if _length(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def _length(text: str) -> float:
    from PIL import ImageFont

    return float(ImageFont.load_default().getlength(text))
