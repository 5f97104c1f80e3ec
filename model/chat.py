"""The chat template: the tokens around what is asked and what is answered.

Checkpoints with a tokenizer of ours have `<user>` and `<assistant>` and show a picture that comes
first before any turn. With LLaMA-3's tokenizer the template is LLaMA-3's, as Cambrian uses it:
headers that name the role, no line ends behind them, `<|eot_id|>` behind everything said, and the
picture within the user's turn. There is no system prompt.
"""

from dataclasses import dataclass

from unimm_eval.model.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """Token ids before what is asked, and between it and its answer; behind the answer is `<eot>`.

    With `picture_before` pictures that come before any text stand before the first turn.
    """

    asked: tuple[int, ...]
    answered: tuple[int, ...]
    picture_before: bool

    @property
    def tokens_a_turn(self) -> int:
        """Of a turn's tokens those that nobody said, `<eot>` behind the answer included."""
        return len(self.asked) + len(self.answered) + 1


def chat_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template that goes with a tokenizer."""
    if not tokenizer.llama3:
        return ChatTemplate(
            asked=(tokenizer.user,), answered=(tokenizer.assistant,), picture_before=True
        )
    user, assistant = (
        (tokenizer.user, *tokenizer.encode(role), tokenizer.assistant)
        for role in ("user", "assistant")
    )
    return ChatTemplate(asked=user, answered=(tokenizer.eot, *assistant), picture_before=False)
