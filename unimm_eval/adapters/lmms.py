"""`lmms:NAME?arg=…`: models of lmms-eval, each in a process of its own that holds its weights."""

import ast
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unimm_eval import api
from unimm_eval.adapters.hf_files import HubSource
from unimm_eval.adapters.settled import settled
from unimm_eval.api import (
    READS_PICTURES,
    ChatRequest,
    Picture,
    UserError,
    content_hash,
    encode_png,
    stable_hash,
)

PREFIX = "lmms:"
_FIX = "Give --model lmms:NAME?arg=value&arg=value with the arguments of lmms-eval's model."
_TAIL = 12


@dataclass(frozen=True, kw_only=True)
class Spec:
    """lmms-eval's name of the model, and the arguments it is made with."""

    name: str
    arguments: Mapping[str, str]

    @classmethod
    def parse(cls, spec: str) -> "Spec":
        """Raises UserError when there is no such model, or an argument is no name=value."""
        name, _, rest = spec.removeprefix(PREFIX).partition("?")
        if name not in (known := model_names()):
            near = get_close_matches(name, known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"lmms-eval {_version()} has no model {name!r}.{hint}", fix=_FIX)
        pairs = [part.partition("=") for part in rest.split("&") if part]
        for key, sign, value in pairs:
            if not (key.isidentifier() and sign) or "," in value:
                raise UserError(f"{spec}: {key}{sign}{value} is no argument.", fix=_FIX)
        return cls(name=name, arguments={key: value for key, _, value in pairs})

    @property
    def weights(self) -> HubSource | None:
        """Where the weights are, where the arguments say it in the usual way."""
        named = self.arguments.get("pretrained")
        return None if named is None else HubSource.parse(named)


class LmmsModel:
    """A model class of lmms-eval: writes text about pictures, by its own template and processing.

    Its likelihoods are not offered: what these classes return is a mean loss without a count of
    tokens, or nothing.
    """

    summary = "models of lmms-eval by their names there, in a process of their own"
    examples = ("lmms:qwen2_5_vl?pretrained=ORG/NAME", "lmms:llava_hf?pretrained=ORG/NAME")
    capabilities = frozenset({"GeneratesText", READS_PICTURES})

    def __init__(self, process: "_Process", spec: Spec, loaded: Mapping[str, Any]) -> None:
        self._process = process
        self._spec = spec
        self._facts = loaded
        self._commit: str | None = loaded["commit"]

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(PREFIX)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        Spec.parse(spec)
        return cls.capabilities

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "LmmsModel":
        parsed = Spec.parse(spec)
        if dtype != "auto":
            raise UserError(
                f"{spec}: the precision of lmms-eval's models is an argument of theirs.",
                fix=f"Leave --dtype out, and give it in the spec where {parsed.name} has it.",
            )
        process = _Process()
        loaded = process.call(
            {
                "do": "load",
                "name": parsed.name,
                "arguments": dict(parsed.arguments),
                "device": device,
            }
        )
        if reason := loaded.get("error"):
            process.close()
            raise UserError(f"lmms-eval cannot make {spec}: {reason}", fix=_FIX)
        return cls(process, parsed, loaded)

    @property
    def name(self) -> str:
        source = self._spec.weights
        return self._spec.name if source is None else f"{self._spec.name}-{source.name}"

    @property
    def fingerprint(self) -> str:
        """Of name, arguments and lmms-eval's version, and of the weights as far as they are known:
        a folder by its files, a repository by its commit. `describe` says which it was."""
        arguments = {k: v for k, v in self._spec.arguments.items() if k != "pretrained"}
        parts = [_version(), self._spec.name, arguments, self._weights[1]]
        return stable_hash(parts, length=64)

    @property
    def _weights(self) -> tuple[str, str]:
        """(how the weights are identified, by what)."""
        source = self._spec.weights
        if source is None:
            return "not identified: the arguments name none", ""
        if source.is_folder:
            return "files", source.fingerprint(Path(source.place))
        if self._commit is not None:
            return "commit", f"{source.place}@{self._commit}"
        return "not identified: by the name of the repository alone", source.place

    def describe(self) -> Mapping[str, Any]:
        how, what = self._weights
        return {
            "lmms_eval": _version(),
            "model_class": self._facts["model_class"],
            "interface": self._facts["interface"],
            "parameters": self._facts["parameters"],
            "weights_identified_by": how,
            "weights": what,
        }

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        """By the model's own `generate_until`. Answers are cut at the first stop; among `choices`
        the one that the answer begins with is taken, else the answer stays as it is.

        Raises UserError for a request that no chat template is to be put around.
        """
        if any(not request.template for request in requests):
            raise UserError(
                f"{self.name} puts everything in its chat template, and cannot continue bare text.",
                fix="Leave that task out.",
            )
        reply = self._process.call(
            {"do": "generate", "requests": [self._sent(request) for request in requests]}
        )
        if reason := reply.get("error"):
            kind = MemoryError if "out of memory" in reason.lower() else RuntimeError
            raise kind(f"lmms-eval's {self._spec.name}: {reason}\n{self._process.tail()}")
        return [
            settled(text, request) for text, request in zip(reply["texts"], requests, strict=True)
        ]

    def _sent(self, request: ChatRequest) -> dict[str, Any]:
        turns: list[tuple[str, Sequence[str | Picture]]] = []
        for turn in request.history:
            turns += [("user", turn.parts), ("assistant", (turn.answer,))]
        return {
            "turns": [
                {"role": role, "parts": [self._part(part) for part in parts]}
                for role, parts in [*turns, ("user", request.parts)]
            ],
            "stop": list(request.stop),
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }

    def _part(self, part: str | Picture) -> dict[str, str]:
        if isinstance(part, str):
            return {"text": part}
        return {"picture": str(self._process.keep(encode_png(part.load())))}


class _Process:
    """The process that holds a model; it ends with us, whatever ends us."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._scratch = Path(tempfile.mkdtemp(prefix="unimm-eval-lmms-model-"))
        self._log = self._scratch / "log"
        with theirs, self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "unimm_eval.adapters.lmms_child",
                    str(theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": _python_path()},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._stream = ours.makefile("rw", encoding="utf-8", newline="\n")
        ours.close()
        self.close = weakref.finalize(self, _end, self._child, self._stream, self._scratch)

    def call(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The reply; {"error": …} where the process died."""
        try:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()
            line = self._stream.readline()
        except OSError:
            line = ""
        if not line:
            return {"error": f"its process ended ({self._child.poll()})\n{self.tail()}"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def keep(self, data: bytes) -> Path:
        """A picture as a file that the process removes once it has read it."""
        path = self._scratch / f"{content_hash(data)}.png"
        if not path.exists():
            path.write_bytes(data)
        return path

    def tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL:])


def _python_path() -> str:
    """Where the child finds us, installed or not; never the current folder."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    root = str(Path(api.__file__).parents[2])
    return os.pathsep.join([root, *(os.path.abspath(part) for part in named if part)])


def _end(child: "subprocess.Popen[bytes]", stream: Any, scratch: Path) -> None:
    stream.close()
    child.kill()
    child.wait()
    shutil.rmtree(scratch, ignore_errors=True)


@cache
def model_names() -> frozenset[str]:
    """lmms-eval's names of models, read from its registry's source: importing it takes seconds."""
    spec = importlib.util.find_spec("lmms_eval")
    if spec is None or spec.origin is None:
        raise UserError("lmms-eval is not installed.", fix="pip install lmms-eval")
    tree = ast.parse((Path(spec.origin).parent / "models" / "__init__.py").read_text("utf-8"))
    names: set[str] = set()
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if not isinstance(target, ast.Name) or not isinstance(value, ast.Dict):
            continue
        if target.id in ("AVAILABLE_SIMPLE_MODELS", "AVAILABLE_CHAT_TEMPLATE_MODELS"):
            names |= set(ast.literal_eval(value))
        elif target.id == "MODEL_ALIASES":
            names |= {alias for found in ast.literal_eval(value).values() for alias in found}
    return frozenset(names)


def _version() -> str:
    return version("lmms_eval")
