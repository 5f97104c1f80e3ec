"""Generation from a cache: text, pictures, and both in one sequence (paper appendix B, E.3).

session.py     rows of a cache that grow by text and by pictures
prefixes.py    sessions on prompts whose shared beginnings are encoded once
solver.py      Euler and Heun from noise to data
pictures.py    a picture behind a prompt or any document, with classifier-free guidance
text.py        sampled text, and guided choices
interleaved.py text and pictures in turn
frames.py      frames from frames and actions

Every row of a batch is what it would be alone: random numbers come from a row's own seed, and no
row sees another.
"""

from unimm_eval.model.generate.frames import FrameContext
from unimm_eval.model.generate.interleaved import generate_interleaved
from unimm_eval.model.generate.pictures import (
    continue_with_pictures,
    generate_pictures,
    seeded_noise,
    unconditional,
)
from unimm_eval.model.generate.prefixes import Prefixes, Prompt
from unimm_eval.model.generate.session import Session
from unimm_eval.model.generate.solver import Solver, num_evaluations, solve
from unimm_eval.model.generate.text import Sampling, choice_ids, choose_text, generate_text

__all__ = [
    "FrameContext",
    "Prefixes",
    "Prompt",
    "Sampling",
    "Session",
    "Solver",
    "choice_ids",
    "choose_text",
    "continue_with_pictures",
    "generate_interleaved",
    "generate_pictures",
    "generate_text",
    "num_evaluations",
    "seeded_noise",
    "solve",
    "unconditional",
]
