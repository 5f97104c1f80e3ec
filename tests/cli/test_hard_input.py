"""Bad input costs one message: exit 2, no traceback, nothing written and nothing lost."""

import json
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from checkpoints import accept_weights, edit_config, tiny_checkpoint
from cli_program import Program, contents, is_one_message

from unimm_eval.api import encode_png

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from unimm_eval.engine.store import Store
with Store(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
QUICK = ("--tasks", "text", "--set", "text.path=words.txt", "--device", "cpu")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    """A checkpoint to be damaged, in `ckpt`; beside it a text, in `words.txt`."""
    (tmp_path / "words.txt").write_text("three red squares\n" * 20)
    return Path(shutil.copytree(original, tmp_path / "ckpt"))


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def flip_a_byte(folder: Path) -> None:
    data = bytearray(weights(folder).read_bytes())
    data[len(data) // 2] ^= 1
    weights(folder).write_bytes(data)


def truncate(folder: Path) -> None:
    data = weights(folder).read_bytes()
    weights(folder).write_bytes(data[: len(data) // 2])


def truncate_and_vouch(folder: Path) -> None:
    truncate(folder)
    accept_weights(folder)


def something_else(folder: Path) -> None:
    weights(folder).write_text("not a tensor in sight")
    accept_weights(folder)


def write(name: str, text: str | bytes) -> Callable[[Path], None]:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data) and None


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, **changes)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_byte, "model.safetensors: damaged or altered"),
        (truncate, "model.safetensors: damaged or altered"),
        (truncate_and_vouch, "model.safetensors: not a whole safetensors file"),
        (something_else, "model.safetensors: not a whole safetensors file"),
        (without("model.safetensors"), "missing model.safetensors"),
        (without("tokenizer.json"), "missing tokenizer.json"),
        (config(schema_version=2), "config.json: schema version 2, but this program reads 1"),
        (config(schema_version=None), "config.json: schema version None"),
        (write("config.json", "{"), "config.json: not JSON"),
        (write("config.json", "[1]"), "config.json: not a JSON object"),
        (write("config.json", b"\xff\xfe\x00"), "config.json: not JSON"),
        (write("config.json", "[" * 100_000), "config.json: not JSON"),
        (config(weights_sha256=3), "config.json: needs `model` and `weights_sha256`"),
        (config(model={"dim": 64}), "does not fit config.json; differing tensors:"),
        (config(model={"dim": 2**40}), "config.json: too large a model"),
        (config(model={"dim": 10**30}), "config.json: too large a model"),
        (config(model={"num_layers": 3}), "does not fit config.json; differing tensors:"),
        (config(model={"num_layers": 10**6}), "which has 1000000 layers"),
        (config(model={"num_layers": 10**9}), "too large a model: num_layers is 1000000000"),
        (config(model={"dim": "wide"}), "config.json: dim must be"),
        (config(model={"dim": 32.0}), "config.json: dim must be"),
        (config(model={"norm_eps": "small"}), "config.json: norm_eps must be"),
        (config(model={"num_heads": 3, "num_kv_heads": 2}), "config.json: num_heads (3) must be"),
        (config(model={"depth": 3}), "config.json: unknown fields: depth"),
        (write("encoder.json", "null"), "encoder.json: not a JSON object"),
        (write("encoder.json", '{"kind": "vq"}'), "encoder.json: unknown encoder 'vq'"),
        (
            write("encoder.json", '{"kind": "raw_pixels", "patch_size": 0}'),
            "encoder.json: patch_size must be",
        ),
        (
            write("encoder.json", '{"kind": "raw_pixels", "patch_size": "8"}'),
            "encoder.json: patch_size must be",
        ),
        (write("encoder.json", '{"kind": "raw_pixels", "picture_size": 64}'), "the encoder gives"),
        (write("training.json", ""), "training.json: not JSON"),
        (write("tokenizer.json", "{}"), "tokenizer.json: not a tokenizer"),
        (write("tokenizer.json", b"\xff"), "tokenizer.json: not a tokenizer"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    program: Program, checkpoint: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(checkpoint)
    before = contents(checkpoint.parent)
    ended = program("--model", "ckpt", *QUICK)
    assert ended.code == 2, ended.err
    assert is_one_message(ended)
    assert said in ended.err
    assert len(ended.err) < 1000
    assert contents(checkpoint.parent) == before


def test_a_tokenizer_of_another_model_is_refused(program: Program, checkpoint: Path) -> None:
    from unimm_eval.model.tokenizer import Tokenizer

    Tokenizer.train(iter(["few words"]), vocab_size=264).save(checkpoint / "tokenizer.json")
    ended = program("--model", "ckpt", *QUICK)
    assert ended.code == 2
    assert "tokenizer.json: 264 tokens, but the model has 320" in ended.err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("demp", "no model 'demp' (did you mean demo?)"),
        ("hx:gpt2", "no model 'hx:gpt2'"),
        ("some/where", "some/where: there is no such folder"),
        ("model.pt", "model.pt: pickled checkpoints are not read"),
        ("ckpt/pytorch_model.bin", "pickled checkpoints are not read"),
        (".", "not a whole checkpoint, missing config.json"),
    ],
)
def test_what_is_no_model_is_refused(
    program: Program, checkpoint: Path, model: str, said: str
) -> None:
    (checkpoint.parent / "model.pt").write_bytes(b"\x80\x04cos\nsystem\n.")
    before = contents(checkpoint.parent)
    ended = program("--model", model, *QUICK)
    assert ended.code == 2
    assert is_one_message(ended)
    assert said in ended.err
    assert contents(checkpoint.parent) == before


def test_an_unknown_task_names_the_nearest(program: Program, checkpoint: Path) -> None:
    before = contents(checkpoint.parent)
    ended = program("--model", "ckpt", "--tasks", "geneval:mimi,vqa16:mini")
    assert ended.code == 2
    assert is_one_message(ended)
    assert "no task 'geneval:mimi' (did you mean geneval:mini" in ended.err
    assert contents(checkpoint.parent) == before


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG file that says it is so large, whatever follows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


WHOLE = encode_png(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.png": png(60_000, 60_000)}, "a.png: too many pixels"),
        ({"a.png": png(8_000, 8_000)}, "a.png: 8000x8000 pixels, more than the 50,000,000 allowed"),
        ({"a.png": WHOLE[: len(WHOLE) // 2]}, "a.png: not a picture that can be decoded"),
        ({"a.png": b""}, "a.png: not a picture that can be decoded"),
        ({"a.jpg": b"\xff\xd8\xff\xe0" + bytes(100)}, "a.jpg: not a picture that can be decoded"),
        ({"a.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, "a.png: not a picture"),
        ({"a.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "a.png: not a picture"),
        ({"a.png": png(0, 0)}, "a.png: not a picture that can be decoded"),
        ({}, "holds no pictures"),
        ({"a.png": WHOLE, "a.txt": b"\xff\xfe"}, "a.txt is not UTF-8"),
        ({"a.png": WHOLE, "a.txt": b"  \n"}, "a.png: has no caption"),
        ({"a.png": WHOLE, "captions.jsonl": b"[]\n"}, "captions.jsonl, line 1: not a file_name"),
    ],
)
def test_pictures_that_cannot_be_used_are_named(
    program: Program, checkpoint: Path, files: dict[str, bytes], said: str
) -> None:
    folder = checkpoint.parent / "pictures"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        if not {"a.txt", "captions.jsonl"} & set(files):
            (folder / name).with_suffix(".txt").write_text("a caption")
    before = contents(checkpoint.parent)
    ended = program("--model", "ckpt", "--tasks", "cc12m", "--set", "cc12m.path=pictures")
    assert ended.code == 2, ended.err
    assert is_one_message(ended)
    assert said in ended.err
    assert contents(checkpoint.parent) == before


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"caf\xe9 au lait", "a.txt is not UTF-8 text (byte 3)"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", b" \n\n\t", "a.txt is empty"),
        ("a.txt", b"\x00\xff" * 500, "a.txt is not UTF-8"),
        ("a.jsonl", b'{"text": 3}\n{"te', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "a.jsonl, line 1: not UTF-8 text"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl, line 1: half of a character"),
        ("a.jsonl", b"\n", "a.jsonl is empty"),
        ("b.txt", b"text", "a.txt does not exist"),
    ],
)
def test_text_that_cannot_be_used_is_named(
    program: Program, checkpoint: Path, name: str, data: bytes, said: str
) -> None:
    (checkpoint.parent / name).write_bytes(data)
    before = contents(checkpoint.parent)
    asked = "a.jsonl" if name.endswith("jsonl") else "a.txt"
    ended = program("--model", "ckpt", "--tasks", "text", "--set", f"text.path={asked}")
    assert ended.code == 2, ended.err
    assert is_one_message(ended)
    assert said in ended.err
    assert contents(checkpoint.parent) == before


@pytest.mark.parametrize("overlap", ["256", "300"])
def test_an_overlap_that_leaves_nothing_to_score_is_refused(
    program: Program, checkpoint: Path, overlap: str
) -> None:
    ended = program("--model", "ckpt", *QUICK, "--set", f"text.overlap={overlap}")
    assert ended.code == 2, ended.err
    assert is_one_message(ended)
    assert "overlap" in ended.err
    assert not list(checkpoint.parent.rglob("results.json"))


def test_a_caption_that_does_not_fit_is_named_and_costs_its_own_sample(
    program: Program, checkpoint: Path
) -> None:
    folder = checkpoint.parent / "pictures"
    folder.mkdir()
    for name, caption in (("long", "words without end " * 100), ("short", "a red ring")):
        (folder / f"{name}.png").write_bytes(WHOLE)
        (folder / f"{name}.txt").write_text(caption)
    asked = ("--model", "ckpt", "--tasks", "cc12m", "--set", "cc12m.path=pictures")
    ended = program(*asked, "--output", "both")
    assert ended.code == 0, ended.err
    record = json.loads((checkpoint.parent / "both" / "results.json").read_text())
    assert {(row["n"], row["unscored"]) for row in record["results"]} == {(10, 10)}
    (folder / "short.png").unlink()
    ended = program(*asked, "--output", "one")
    assert ended.code == 3, ended.err
    assert is_one_message(ended)
    assert "tokens, but ckpt has room for 256" in ended.err


def test_an_output_folder_below_a_file_is_refused(program: Program, checkpoint: Path) -> None:
    before = contents(checkpoint.parent)
    ended = program("--model", "ckpt", *QUICK, "--output", "words.txt/run")
    assert ended.code == 2
    assert is_one_message(ended)
    assert "words.txt/run cannot be written" in ended.err
    assert contents(checkpoint.parent) == before


def test_the_run_folder_of_another_model_is_refused(program: Program, checkpoint: Path) -> None:
    tiny_checkpoint(checkpoint.parent / "other", seed=1)
    assert program("--model", "ckpt", *QUICK, "--output", "run").code == 0
    before = contents(checkpoint.parent)
    ended = program("--model", "other", *QUICK, "--output", "run")
    assert ended.code == 2
    assert is_one_message(ended)
    assert "run is the folder of another run" in ended.err
    assert "model.fingerprint" in ended.err
    assert contents(checkpoint.parent) == before


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Another process uses the run folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield
        child.communicate()


def test_two_processes_on_one_run_folder(program: Program, checkpoint: Path) -> None:
    command = ("--model", "ckpt", *QUICK, "--output", "run")
    folder = checkpoint.parent / "run"
    assert program(*command).code == 0
    record = (folder / "results.json").read_bytes()
    with held(folder):
        ended = program(*command)
    assert ended.code == 2
    assert is_one_message(ended)
    assert "Another process is using run" in ended.err
    assert (folder / "results.json").read_bytes() == record
    assert program(*command).code == 0


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing past `size` fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def stable(folder: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "results.json").read_text())
    del record["volatile"]
    return record


@pytest.mark.parametrize("size", [0, 2_000, 9_000, 30_000])
def test_a_disk_that_fills_up_loses_nothing(program: Program, checkpoint: Path, size: int) -> None:
    """The user must make room and go on: incomplete (3), not a mistake (2)."""
    command = ("--model", "ckpt", *QUICK, "--output", "run")
    folder = checkpoint.parent / "run"
    with largest_file(size):
        ended = program(*command)
    assert ended.code == 3, ended.err
    assert "cannot be written: " in ended.err
    assert "same command continues" in ended.err
    assert "Traceback" not in ended.err
    assert not list(folder.rglob("*.tmp"))
    assert program(*command).code == 0
    continued = stable(folder)
    shutil.rmtree(folder)
    assert program(*command).code == 0
    assert stable(folder) == continued
