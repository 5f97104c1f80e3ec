"""Text to ids and back: a byte-level BPE trained here, or LLaMA-3's from the user's own copy.

A `tokenizer.json` is the whole truth: which of the two it is shows in the names of its special
tokens, so a checkpoint folder needs nothing beside it. Any text can be encoded by both.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer as BPE
from tokenizers import decoders, models, pre_tokenizers, trainers

SPECIAL = ("<pad>", "<bos>", "<eos>", "<boi>", "<eoi>", "<user>", "<assistant>", "<eot>")
"""`<eos>` ends a document, `<boi>`/`<eoi>` bound a picture, `<user>` and `<assistant>` open a turn
and `<eot>` ends the assistant's."""

LLAMA3_SPECIAL = (
    ("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>"),
    ("<|begin_of_text|>",),
    ("<|end_of_text|>",),
    ("<|reserved_special_token_0|>",),
    ("<|reserved_special_token_1|>",),
    ("<|start_header_id|>",),
    ("<|end_header_id|>",),
    ("<|eot_id|>",),
)
"""What stands for each of SPECIAL in LLaMA-3's vocabulary of 128,256, which has 256 special tokens
to itself: ids 128004, 128000, 128001, 128002, 128003, 128006, 128007 and 128009. They are the same
ids in every release; 128004 has its first name since 3.1 and its second in 3.0."""

LLAMA3_COPY = (
    "LLaMA-3's is the tokenizer.json (9 MB, 128,256 tokens) of meta-llama/Llama-3.2-1B or "
    "Llama-3.1-8B, gated: accept the licence on its page, `hf download meta-llama/Llama-3.2-1B "
    "tokenizer.json`, and name the file, its folder or the repository."
)
"""What to get, and from where."""


class Tokenizer:
    """Text to ids and back. Text never encodes to special tokens, whatever it says.

    `control` holds the ids of all of them, also of those without a name here; `llama3` says which
    of the two it is. In LLaMA-3's a turn begins with a header, which `user` opens and `assistant`
    closes, whoever speaks (`chat.py`).
    """

    def __init__(self, bpe: BPE) -> None:
        """Raises ValueError that names the special tokens which are missing."""
        self._bpe = bpe
        # A caption that says "<eos>" is text: special tokens are placed by ids alone.
        self._bpe.encode_special_tokens = True
        # Copies that were finetuned with may carry these, and would cut or fill what they encode.
        self._bpe.no_truncation()
        self._bpe.no_padding()
        added = bpe.get_added_tokens_decoder()
        ids = {token.content: number for number, token in added.items() if token.special}
        self.llama3 = llama3 = "<|begin_of_text|>" in ids
        names = LLAMA3_SPECIAL if llama3 else tuple((name,) for name in SPECIAL)
        found = [next((ids[name] for name in either if name in ids), None) for either in names]
        if missing := [" or ".join(n) for n, i in zip(names, found, strict=True) if i is None]:
            raise ValueError(
                f"{'LLaMA-3 but ' if llama3 else ''}without the special tokens {', '.join(missing)}"
            )
        special = [number for number in found if number is not None]
        self.pad, self.bos, self.eos, self.boi, self.eoi, self.user, self.assistant, self.eot = (
            special
        )
        self.control = frozenset(ids.values())

    @property
    def vocab_size(self) -> int:
        return self._bpe.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each, on all cores."""
        return [one.ids for one in self._bpe.encode_batch(texts, add_special_tokens=False)]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that it is."""
        return hashlib.sha256(self._bpe.to_str().encode()).hexdigest()

    def decode(self, ids: Iterable[int]) -> str:
        return self._bpe.decode(list(ids), skip_special_tokens=True)

    def save(self, path: Path) -> None:
        self._bpe.save(str(path))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Raises ValueError that names the file when it is not a tokenizer of ours or LLaMA-3's."""
        try:
            return cls(BPE.from_file(str(path)))
        except Exception as error:  # the Rust side raises bare Exception
            raise ValueError(f"{path}: not a tokenizer ({error})") from error

    @classmethod
    def copy_of(cls, source: str, *, vocab_size: int) -> "Tokenizer":
        """One that the user has: LLaMA-3's for the models of the paper (§2.2), or one of ours.

        `source` is a tokenizer.json, a folder with one, or ORG/NAME[@REVISION] in the local cache
        of the Hugging Face hub; nothing is downloaded. Raises ValueError, saying what to get, when
        there is none or it does not have exactly the `vocab_size` tokens of the model.
        """
        path = _find(source)
        try:
            tokenizer = cls.load(path)
        except ValueError as error:
            raise ValueError(f"{error}. {LLAMA3_COPY}") from error
        if tokenizer.vocab_size != vocab_size:
            raise ValueError(
                f"{path}: {tokenizer.vocab_size:,} tokens, but the model has {vocab_size:,}. "
                f"{LLAMA3_COPY}"
            )
        return tokenizer

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


def _find(source: str) -> Path:
    """The tokenizer.json that `source` names. Raises ValueError."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return path / "tokenizer.json"
        raise ValueError(f"{source}: a folder without tokenizer.json. {LLAMA3_COPY}")
    repository, _, revision = source.partition("@")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(repository, "tokenizer.json", revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    raise ValueError(
        f"{source}: neither a file, nor a folder, nor in the local cache of the hub. {LLAMA3_COPY}"
    )
