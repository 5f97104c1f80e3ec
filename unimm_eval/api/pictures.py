"""A picture that is passed by reference and loaded when it is looked at.

Files come from outside: only raster formats that Pillow decodes safely are opened, the pixel count
is capped before decoding, and every failure is a `PictureError` that names the file.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unimm_eval.api.errors import PictureError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in memory (`array`, uint8 [height, width, 3]) or in a file (`path`)."""

    array: np.ndarray | None = None
    path: Path | None = None

    def load(self) -> np.ndarray:
        """Decode to uint8 [height, width, 3] RGB. Raises PictureError."""
        if self.array is not None:
            return self.array
        assert self.path is not None
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise PictureError(f"{self.path}: cannot be read ({error.strerror})") from error
        return decode_picture(data, name=str(self.path))


def decode_picture(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode image bytes to uint8 RGB, EXIF-rotated. Raises PictureError naming `name`."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise PictureError(
                        f"{name}: {width}x{height} pixels, more than the {max_pixels:,} allowed"
                    )
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PictureError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(f"{name}: too many pixels ({error})") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"{name}: not a picture that can be decoded ({error})") from error


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of a uint8 [height, width, 3] array; equal arrays give equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def content_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
