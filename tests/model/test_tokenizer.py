"""The tokenizer of the demo and LLaMA-3's: any text through both, and copies that do not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tokenizer as tiny_tokenizer
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as BPE

from unimm_eval.model.tokenizer import SPECIAL, Tokenizer

BASE = 261  # 256 bytes and five merges
SIZE = BASE + 256
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NAMED_30 = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id"}
NAMED_30 |= {9: "eot_id"}
NAMED_31 = NAMED_30 | {4: "finetune_right_pad_id", 8: "eom_id", 10: "python_tag"}
IDS = {"bos": 0, "eos": 1, "boi": 2, "eoi": 3, "pad": 4, "user": 6, "assistant": 7, "eot": 9}


def llama3(named: dict[int, str], *, base: int = BASE, special: int = 256) -> BPE:
    """LLaMA-3's structure: bytes and merges, then 256 special tokens, most of them reserved."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("<", "|"), ("<|", "e")]
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    tokens += [f"filler {number}" for number in range(base - len(tokens))]
    bpe = BPE(
        models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, ignore_merges=True)
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    reserved = iter(range(special))
    names = [named.get(i) or f"reserved_special_token_{next(reserved)}" for i in range(special)]
    bpe.add_special_tokens([f"<|{name}|>" for name in names])
    return bpe


def written(folder: Path, bpe: BPE) -> Path:
    bpe.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module", params=[NAMED_30, NAMED_31], ids=["3.0", "3.1"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("copy"), llama3(request.param))


def special_ids(tokenizer: Tokenizer) -> list[int]:
    return [getattr(tokenizer, token.strip("<>")) for token in SPECIAL]


KINDS = {"ours": tiny_tokenizer(), "LLaMA-3's": Tokenizer(llama3(NAMED_31))}


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=200))
def test_any_text_comes_back_and_holds_no_special_token(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(special_ids(tokenizer)) & set(ids)
    assert tokenizer.decode([tokenizer.bos, *ids, tokenizer.eos]) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "token", [*SPECIAL, "<|begin_of_text|>", "<|eot_id|>", "<|reserved_special_token_0|>"]
)
def test_the_name_of_a_special_token_is_text(kind: str, token: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer.encode(f"a {token}{token} red")
    assert not set(special_ids(tokenizer)) & set(ids)
    assert max(ids) < min(special_ids(tokenizer)) or kind == "ours"
    assert tokenizer.decode(ids) == f"a {token}{token} red"


def test_merges_are_used() -> None:
    assert len(KINDS["LLaMA-3's"].encode("a red red")) == 3


def test_every_release_has_the_same_ids(copy: Path) -> None:
    tokenizer = Tokenizer.copy_of(str(copy), vocab_size=SIZE)
    assert tokenizer.vocab_size == SIZE
    assert {name: getattr(tokenizer, name) - BASE for name in IDS} == IDS


def test_a_saved_file_says_which_tokenizer_it_is(copy: Path, tmp_path: Path) -> None:
    first = Tokenizer.copy_of(str(copy), vocab_size=SIZE)
    first.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert special_ids(again) == special_ids(first)
    assert again.vocab_size == SIZE
    assert again.encode("a red <|eot_id|>") == first.encode("a red <|eot_id|>")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_the_whole_vocabulary_has_the_ids_of_llama_3(tmp_path: Path) -> None:
    path = written(tmp_path, llama3(NAMED_31, base=128_000))
    tokenizer = Tokenizer.copy_of(str(path), vocab_size=128_256)
    expected = [128004, 128000, 128001, 128002, 128003, 128006, 128007, 128009]
    assert special_ids(tokenizer) == expected
    with pytest.raises(ValueError, match="128,256 tokens, but the model has 768"):
        Tokenizer.copy_of(str(path), vocab_size=768)


def test_a_copy_is_found_as_file_folder_and_in_the_cache_of_the_hub(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--meta-llama--Llama-3.2-1B"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (snapshot / "tokenizer.json").write_bytes(copy.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = "meta-llama/Llama-3.2-1B"
    for source in (str(copy), str(copy.parent), name, f"{name}@main", f"{name}@0123"):
        assert Tokenizer.copy_of(source, vocab_size=SIZE).bos == BASE


@pytest.mark.parametrize(
    "source", ["meta-llama/Llama-3.2-1B@never", "no/such/folder", "tokenizer.json", "", "a/b", "@"]
)
def test_a_missing_copy_says_what_to_get_and_from_where(source: str, tmp_path: Path) -> None:
    path = source if source else str(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.json \(9 MB.*meta-llama/.*gated.*download"):
        Tokenizer.copy_of(path, vocab_size=SIZE)


def edited(bpe: BPE, tmp_path: Path, **changes: Any) -> str:
    path = written(tmp_path, bpe)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return str(path)


def test_a_wrong_file_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, llama3(NAMED_30, special=4))
    missing = r"tokenizer\.json.*<\|start_header_id\|>, <\|end_header_id\|>, <\|eot_id\|>"
    with pytest.raises(ValueError, match=missing):
        Tokenizer.load(path)
    with pytest.raises(ValueError, match=r"<\|eot_id\|>.*meta-llama"):
        Tokenizer.copy_of(str(path), vocab_size=SIZE)
    written(tmp_path, llama3(NAMED_31, base=BASE + 1))
    with pytest.raises(ValueError, match=f"{SIZE + 1} tokens, but the model has {SIZE}"):
        Tokenizer.copy_of(str(path), vocab_size=SIZE)
    other = BPE(models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(ValueError, match="<pad>, <bos>"):
        Tokenizer.load(written(tmp_path, other))


def test_special_tokens_in_name_only_are_refused(tmp_path: Path) -> None:
    bpe = llama3(NAMED_31)
    bpe.add_tokens([AddedToken("<|eot_id|>", special=False)])  # text could say it
    with pytest.raises(ValueError, match=r"without the special tokens <\|eot_id\|>"):
        Tokenizer.load(written(tmp_path, bpe))


def test_what_a_finetune_left_in_a_copy_does_not_cut_text(tmp_path: Path) -> None:
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    source = edited(llama3(NAMED_31), tmp_path, truncation=truncation)
    tokenizer = Tokenizer.copy_of(source, vocab_size=SIZE)
    assert tokenizer.decode(tokenizer.encode("long " * 20)) == "long " * 20
