"""Files from outside become pictures, or a message that names them."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from unimm_eval.api import Picture, PictureError, decode_picture, encode_png

ARRAY = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
ORIENTATION, YCBCR_POSITIONING = 0x0112, 0x0213


def exif(*entries):
    """An EXIF block of (tag, type, count, four bytes) rows."""
    rows = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + head + rows + struct.pack("<I", 0)


def saved(kind, array=ARRAY, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_png_comes_back_as_it_was(tmp_path):
    data = encode_png(ARRAY)
    (tmp_path / "a.png").write_bytes(data)
    assert (decode_picture(data, name="a.png") == ARRAY).all()
    assert (Picture(path=tmp_path / "a.png").load() == ARRAY).all()
    assert encode_png(decode_picture(data, name="a.png")) == data


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_stand_upright(orientation):
    entry = (ORIENTATION, 3, 1, struct.pack("<HH", orientation, 0))
    data = saved("JPEG", exif=exif(entry), quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (decode_picture(data, name="a.jpg") == expected).all()


@pytest.mark.parametrize("kind", range(14))
def test_odd_tags_of_a_camera_do_no_harm(kind):
    upright = (ORIENTATION, 3, 1, struct.pack("<HH", 6, 0))
    odd = (YCBCR_POSITIONING, kind, 2, b"\x07\0\0\0")
    found = decode_picture(saved("JPEG", exif=exif(upright, odd)), name="a.jpg")
    assert found.shape == (16, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_damaged_files_are_decoded_or_named(kind):
    whole = saved(kind)
    rng = random.Random(kind)
    for _ in range(150):
        data = bytearray(whole[: rng.randint(1, len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.choice((1, 4, 20))):
            data[rng.randrange(min(len(data), rng.choice((40, 10_000))))] = rng.randrange(256)
        try:
            found = decode_picture(bytes(data), name="a.file")
        except PictureError:
            continue
        assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX"])
def test_formats_that_nobody_needs_are_not_opened(kind):
    with pytest.raises(PictureError, match="not a picture that can be decoded"):
        decode_picture(saved(kind), name="a.file")


def test_pixels_are_counted_before_they_are_decoded(tmp_path):
    data = encode_png(np.zeros((20, 30, 3), np.uint8))
    assert decode_picture(data, name="a", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(PictureError, match="a: 30x20 pixels, more than the 599 allowed"):
        decode_picture(data, name="a", max_pixels=599)
    with pytest.raises(PictureError, match=r"gone\.png: cannot be read"):
        Picture(path=tmp_path / "gone.png").load()
