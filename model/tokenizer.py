"""Byte-level BPE with the special tokens of unified sequences. Any text can be encoded."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer as BPE
from tokenizers import decoders, models, pre_tokenizers, trainers

SPECIAL = ("<pad>", "<bos>", "<eos>", "<boi>", "<eoi>", "<user>", "<assistant>", "<eot>")
"""`<eos>` ends a document, `<boi>`/`<eoi>` bound a picture, `<user>` and `<assistant>` open a turn
and `<eot>` ends the assistant's."""


class Tokenizer:
    """Text to ids and back. Text never encodes to special tokens, whatever it says."""

    def __init__(self, bpe: BPE) -> None:
        self._bpe = bpe
        # A caption that says "<eos>" is text: special tokens are placed by ids alone.
        self._bpe.encode_special_tokens = True
        self.pad, self.bos, self.eos, self.boi, self.eoi, self.user, self.assistant, self.eot = (
            self._special(token) for token in SPECIAL
        )

    def _special(self, token: str) -> int:
        number: int | None = self._bpe.token_to_id(token)
        if number is None:
            raise ValueError(f"tokenizer.json lacks the special token {token}")
        return number

    @property
    def vocab_size(self) -> int:
        return self._bpe.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._bpe.decode(list(ids), skip_special_tokens=True)

    def save(self, path: Path) -> None:
        self._bpe.save(str(path))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Raises ValueError when the file is not a tokenizer."""
        try:
            return cls(BPE.from_file(str(path)))
        except ValueError:
            raise
        except Exception as error:  # the Rust side raises bare Exception
            raise ValueError(f"{path}: not a tokenizer ({error})") from error

    @classmethod
    def train(cls, texts: Iterator[str], *, vocab_size: int) -> "Tokenizer":
        """Learn merges from `texts`; the 256 bytes and the special tokens are always there."""
        bpe = BPE(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(texts, trainer)
        return cls(bpe)
