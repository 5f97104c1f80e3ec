"""What the tools ask.

`RECAPTION` is quoted from "Beyond Language Modeling: An Exploration of Multimodal Pretraining"
(arXiv:2603.03276), appendix G.2, which is licensed CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/); its typewriter dashes are set as one dash. The paper
describes the questions of G.3 and does not print them: the others are this project's own words.
"""

RECAPTION = (
    "You are an expert image captioner. Write one specific, information-dense caption (1–2 "
    "sentences). Do not begin with ‘A’, ‘An’, or ‘The’. Name the main subject first, then key "
    "objects, attributes, actions, and scene context. Avoid hedging and meta phrases."
)

ACTION = (
    "You see frames of a video in two groups, before and after. Say in one sentence what physical "
    "action leads from the first group to the second: who or what moves, how, and where to. If the "
    "camera itself moves, say how. Do not describe what merely looks different, such as light, "
    "colours or sharpness, and do not mention frames, pictures or groups."
)

CHECK = "Answer with one word, yes or no."

DESCRIBES_ACTION = (
    "Does this sentence describe a physical action or a motion, rather than only what something "
    "looks like?\n\nSentence: {action}"
)

MATCHES_VIDEO = (
    "Is this what happens in the video between the frames before and the frames after?\n\n"
    "Sentence: {action}"
)
