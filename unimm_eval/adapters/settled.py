"""Answers of models that are asked from outside, where decoding cannot be guided."""

from unimm_eval.api import ChatRequest


def settled(text: str, request: ChatRequest) -> str:
    """Text up to the first stop; among `choices` the one that it begins with, else as it is."""
    for stop in request.stop:
        text = text.partition(stop)[0]
    begun = text.strip().lower()
    for choice in sorted(request.choices or (), key=len, reverse=True):
        if begun.startswith(choice.lower()):
            return choice
    return text
