"""How NWM shows a frame to its model: the middle of it at 4:3, then a square of 224 x 224 pixels.

Of a picture that is wider than 4:3 the sides are cut off and of one that is taller top and bottom,
so nothing is lost of 320 x 240; the resize (bilinear, antialiased) then changes the aspect. Two
cases differ from misc.py's `CenterCropAR`: it fills a picture that is wider than a square but
narrower than 4:3 up with black, which is cut here, and cuts a quarter off a square, which stays
whole: the world's rooms are square, and so is what a model predicted.
"""

import numpy as np

ASPECT = (4, 3)
SIZE = 224


def shown(frame: np.ndarray, *, size: int = SIZE) -> np.ndarray:
    """uint8 [height, width, 3] as the model sees it: uint8 [size, size, 3]."""
    from PIL import Image

    cropped = frame if frame.shape[0] == frame.shape[1] else _middle(frame)
    if cropped.shape[:2] == (size, size):
        return np.ascontiguousarray(cropped)
    picture = Image.fromarray(np.ascontiguousarray(cropped))
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def _middle(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    across, down = ASPECT
    if width * down > height * across:
        wide = height * across // down
        left = round((width - wide) / 2)
        return frame[:, left : left + wide]
    tall = width * down // across
    top = round((height - tall) / 2)
    return frame[top : top + tall]
