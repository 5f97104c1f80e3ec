"""A model without weights: what it answers depends on the prompt and the pixels alone."""

import hashlib
import re

WORDS = ("red", "green", "blue", "white", "left", "right", "top", "circle", "square", "temple")


OPTION = re.compile(r"(?m)(?:^|\s)\(?([A-D])[.)] (.+?)(?=\s\([B-D]\)|$)")


def answer_of(prompt, arrays):
    """`arrays` are the pictures, uint8 [height, width, 3]. An option is chosen by what it says, not
    by its letter: turning the options does not change it."""
    pixels = b"".join(f"{array.shape}".encode() + array.tobytes() for array in arrays)
    number = hashed(prompt.encode() + pixels)
    kind, number = number % 5, number // 5
    options = dict(OPTION.findall(prompt))
    if options:
        letter = min(options, key=lambda name: hashed(options[name].encode() + pixels))
        if "Hint: " in prompt:  # what MathVista's grader can read without a judge
            return options[letter]
        return (letter, letter, f"{letter}.", f"({letter})", f"{letter}. {options[letter]}")[kind]
    if re.search(r"Is it .*\?", prompt):
        return ("Yes", "No", "yes", "No.", "yes, it is")[kind]
    if re.search(r"how many|how tall|digit|corners|value|number", prompt, re.IGNORECASE):
        return str(number % 6)
    return WORDS[number % len(WORDS)]


def hashed(data):
    return int.from_bytes(hashlib.sha256(data).digest()[:6], "big")
