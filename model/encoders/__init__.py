"""Pictures to latents and back: frozen encoders behind one interface.

base.py        what an encoder is
raw_pixels.py  patches of pixels
vision.py      SigLIP 2, DINOv2 and WebSSL
decoders.py    pictures from the features of these
vae.py         SD-VAE and FLUX.1's VAE
dual.py        one encoder to understand and one to generate
weights.py     frozen weights of others: found, verified, or said to be missing
pictures.py    any picture to an encoder's square
read.py        an encoder from encoder.json or a recipe
"""

from unimm_eval.model.encoders.base import Encoder
from unimm_eval.model.encoders.dual import Dual
from unimm_eval.model.encoders.raw_pixels import RawPixels
from unimm_eval.model.encoders.read import (
    KINDS,
    check_widths,
    encoder_from_json,
    encoder_identity,
    reread,
)
from unimm_eval.model.encoders.weights import MissingWeights, Weights

__all__ = [
    "KINDS",
    "Dual",
    "Encoder",
    "MissingWeights",
    "RawPixels",
    "Weights",
    "check_widths",
    "encoder_from_json",
    "encoder_identity",
    "reread",
]
