"""Pictures inside the page, as data URIs: small ones to the pixel, large ones scaled down."""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unimm_eval.api import Picture, PictureError, encode_png
from unimm_eval.report.plain import one_line

CRISP = 128
"""Longest side, in pixels, up to which a picture is embedded losslessly and drawn pixelated."""
LONGEST = 320
WEBP_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A picture ready for the page. `problem` says why there is none."""

    name: str
    uri: str = ""
    width: int = 0
    height: int = 0
    crisp: bool = False
    problem: str = ""

    @property
    def size(self) -> int:
        return len(self.uri)


def embed(name: str, picture: Picture) -> Embedded:
    """Read `picture` and encode it. A picture that cannot be read is named, never an error: the
    report must come even when a file has been lost."""
    label = one_line(name)
    try:
        array = picture.load()
    except (PictureError, OSError) as error:
        return Embedded(name=label, problem=one_line(str(error), limit=200))
    height, width = array.shape[:2]
    data, kind = encode_small(array)
    return Embedded(
        name=label,
        uri=f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}",
        width=width,
        height=height,
        crisp=kind == "png",
    )


def encode_small(array: np.ndarray) -> tuple[bytes, Literal["png", "webp"]]:
    """A uint8 [height, width, 3] array as a file for a page: to the pixel where it is small."""
    if max(array.shape[:2]) <= CRISP:
        return encode_png(array), "png"
    return _scaled_webp(array), "webp"


def _scaled_webp(array: np.ndarray) -> bytes:
    from PIL import Image

    image = Image.fromarray(array)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=WEBP_QUALITY)
    return buffer.getvalue()
