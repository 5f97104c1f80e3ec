"""A picture that is passed by reference and loaded when it is looked at.

Files come from outside: only raster formats that Pillow decodes safely are opened, the pixel count
is capped before decoding, and every failure is a `PictureError` that names the file.
"""

import hashlib
import io
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api.errors import IncompleteError, PictureError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
_ORIENTATION = 0x0112
_TURNS: Mapping[object, str] = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in memory (`array`, uint8 [height, width, 3]) or in a file (`path`), whose content
    must have the SHA-256 `expected` where that is given."""

    array: "np.ndarray | None" = None
    path: Path | None = None
    expected: str = ""

    def load(self) -> "np.ndarray":
        """Decode to uint8 [height, width, 3] RGB. Raises PictureError; IncompleteError when the
        file is not the one that was written."""
        if self.array is not None:
            return self.array
        return decode_picture(self._bytes(), name=str(self.path))

    def content(self) -> str:
        """SHA-256 of what it holds: of the file, or of size and pixels in memory. Equal ones look
        the same. Raises PictureError."""
        if self.array is not None:
            return content_hash(repr(self.array.shape).encode() + self.array.tobytes())
        return content_hash(self._bytes())

    def _bytes(self) -> bytes:
        assert self.path is not None
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise PictureError(f"{self.path}: cannot be read ({error.strerror})") from error
        if self.expected and content_hash(data) != self.expected:
            raise IncompleteError(
                f"{self.path} is damaged: it is not what was written.",
                fix=f"Remove it (rm {self.path}); then the command that made it makes it again.",
            )
        return data


def decode_picture(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> "np.ndarray":
    """Decode image bytes to uint8 RGB, EXIF-rotated. Raises PictureError naming `name`."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd tags of a picture that decodes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise PictureError(
                        f"{name}: {width}x{height} pixels, more than the {max_pixels:,} allowed"
                    )
                return np.asarray(_upright(image).convert("RGB"))
    except PictureError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(f"{name}: too many pixels ({error})") from error
    except UnidentifiedImageError as error:  # whose own message holds an address in memory
        raise PictureError(
            f"{name}: not a picture that can be decoded (no known format)"
        ) from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise PictureError(f"{name}: not a picture that can be decoded ({error})") from error


def _upright(image: "Image.Image") -> "Image.Image":
    """The picture as its EXIF orientation wants it seen. No other tag is looked at: cameras write
    some that Pillow's own `exif_transpose` fails on."""
    from PIL import Image

    turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def encode_png(array: "np.ndarray") -> bytes:
    """PNG bytes of a uint8 [height, width, 3] array; equal arrays give equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def content_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
