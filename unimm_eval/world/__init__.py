"""The embedded world: seeded pictures, text and questions of which everything is known.

    draw        one random stream for each (split, purpose, index)
    scenes      coloured shapes in the quadrants of a 32 x 32 canvas
    shapes      their masks
    digits      real handwritten digits, split once and for all
    pictures    descriptions of scenes, diagrams, charts and pages
    render      pixels of a description
    holdout     the combinations that training never sees
    captions    prompts with GenEval's metadata, true and wrong scenes for them, captions
    elements    the steps that questions are made of, for training
    inventory   everything in a picture, in words
    facts       riddles whose answers only text tells
    questions   sixteen families, one for the skill of each VQA benchmark
    language    documents of known probability (`pens` writes and scores them)
    detector    what shapes of which colours stand where in any 32 x 32 picture
    rooms       first-person views by ray casting (`rooms_motion` walks, `rooms_words` talks about
                them, `rooms_drive` has frames and actions to learn from, `rooms_disk` recordings)
    poses       poses on a plane and the motions between them
    nwm_folder  trajectories in NWM's format, of anybody's (`nwm_pickle` reads their pickles safely,
                `nwm_index` splits and indices, `nwm_datasets` what the published ones are like,
                `nwm_recon` makes them of RECON's files, `nwm_pictures` crops as NWM does)

Training, validation and test draw from different streams; training never shows a held-out
combination. A sample is stored as words and the description of its picture.
"""

from unimm_eval.world.captions import (
    TAGS,
    Metadata,
    caption_of,
    prompt_is_held_out,
    sample_captioned,
    sample_pair,
    sample_prompt,
    sample_scene_for,
    wrong_scene_for,
)
from unimm_eval.world.detector import Detection, detect
from unimm_eval.world.draw import SPLITS, Split, rng_for
from unimm_eval.world.elements import sample_elements
from unimm_eval.world.facts import FACTS, Fact, sample_riddle
from unimm_eval.world.holdout import (
    is_held_out,
    is_pair_held_out,
    picture_is_held_out,
    scene_is_held_out,
)
from unimm_eval.world.inventory import INVENTORY_QUESTION, inventory
from unimm_eval.world.language import Document, sample_document, score
from unimm_eval.world.pens import NotInLanguage
from unimm_eval.world.pictures import Chart, Diagram, Glyph, Page, Picture, picture_from_json
from unimm_eval.world.questions import (
    FAMILIES,
    Family,
    Question,
    opposite,
    options_of,
    question_at,
    rotations,
    sample_question,
    sample_questions,
)
from unimm_eval.world.render import render
from unimm_eval.world.scenes import CANVAS, COLORS, SHAPES, SIZES, Scene, Thing, relation

__all__ = [
    "CANVAS",
    "COLORS",
    "FACTS",
    "FAMILIES",
    "INVENTORY_QUESTION",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TAGS",
    "Chart",
    "Detection",
    "Diagram",
    "Document",
    "Fact",
    "Family",
    "Glyph",
    "Metadata",
    "NotInLanguage",
    "Page",
    "Picture",
    "Question",
    "Scene",
    "Split",
    "Thing",
    "caption_of",
    "detect",
    "inventory",
    "is_held_out",
    "is_pair_held_out",
    "opposite",
    "options_of",
    "picture_from_json",
    "picture_is_held_out",
    "prompt_is_held_out",
    "question_at",
    "relation",
    "render",
    "rng_for",
    "rotations",
    "sample_captioned",
    "sample_document",
    "sample_elements",
    "sample_pair",
    "sample_prompt",
    "sample_question",
    "sample_questions",
    "sample_riddle",
    "sample_scene_for",
    "scene_is_held_out",
    "score",
    "wrong_scene_for",
]
