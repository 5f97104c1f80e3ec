"""`python -m unimm_eval.adapters.lmms_child DESCRIPTOR`: the process of a model of lmms-eval.

A line of JSON in, a line of JSON out, on the socket DESCRIPTOR, until the other side is gone.
"""

import inspect
import json
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

_TASK, _SPLIT = "asked", "now"


class Holder:
    """The model, once it is loaded."""

    def load(self, *, name: str, arguments: Mapping[str, str], device: str) -> dict[str, Any]:
        from lmms_eval import models

        kind = models.get_model(name)
        given = dict(arguments)
        if "device_map" in inspect.signature(kind.__init__).parameters:
            given.setdefault("device_map", device)  # else most of them take a GPU for granted
        text = ",".join(f"{key}={value}" for key, value in given.items())
        extra = {} if "device" in given else {"device": device}
        self._model = kind.create_from_arg_string(text, extra)
        inner = getattr(self._model, "model", None)
        config = getattr(self._model, "config", None)
        parameters = getattr(inner, "parameters", None)
        return {
            "model_class": f"{kind.__module__}.{kind.__name__}",
            "interface": "simple" if self._model.is_simple else "chat",
            "parameters": sum(p.numel() for p in parameters()) if callable(parameters) else None,
            "commit": getattr(config, "_commit_hash", None),
        }

    def generate(self, *, requests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        texts: list[str] = []
        for arguments, group in groupby(requests, key=_arguments):
            for some in _together(list(group), sampled=arguments["temperature"] > 0):
                texts += self._answers(some, arguments)
        for path in {part["picture"] for part in _parts(requests) if "picture" in part}:
            Path(path).unlink(missing_ok=True)
        return {"texts": texts}

    def _answers(
        self, requests: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
    ) -> list[str]:
        import torch
        from lmms_eval.api.instance import Instance, unwrap_generation_output

        torch.manual_seed(requests[0]["seed"] % 2**63)
        simple = self._model.is_simple
        docs = [_simple(request) if simple else _messages(request) for request in requests]
        self._model.task_dict = {_TASK: {_SPLIT: docs}}
        instances = []
        for number, doc in enumerate(docs):
            given = {**arguments, "until": list(arguments["until"])}  # models take it apart
            asked: tuple[Any, ...]
            if simple:
                asked = (doc["text"], given, _visuals, number, _TASK, _SPLIT)
            else:
                asked = ("", _turns, given, number, _TASK, _SPLIT)
            meta = {"task": _TASK, "doc_id": number, "repeats": 1}
            instances.append(
                Instance(request_type="generate_until", arguments=asked, idx=0, metadata=meta)
            )
        with torch.inference_mode():
            found = self._model.generate_until(instances)
        return [str(unwrap_generation_output(each)[0]) for each in found]


def _arguments(request: Mapping[str, Any]) -> dict[str, Any]:
    sampled = request["temperature"] > 0
    return {
        "until": request["stop"],
        "max_new_tokens": request["max_new_tokens"],
        "temperature": request["temperature"],
        "do_sample": sampled,
        **({"top_p": request["top_p"]} if sampled else {}),
    }


def _together(requests: list[Any], *, sampled: bool) -> list[list[Any]]:
    """What is drawn at random is asked alone: its seed is its own."""
    return [[request] for request in requests] if sampled else [requests]


def _parts(requests: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    for request in requests:
        for turn in request["turns"]:
            yield from turn["parts"]


def _opened(path: str) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _messages(request: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "turns": [
            {
                "role": turn["role"],
                "content": [
                    {"type": "text", "text": part["text"]}
                    if "text" in part
                    else {"type": "image", "url": _opened(part["picture"])}
                    for part in turn["parts"]
                ],
            }
            for turn in request["turns"]
        ]
    }


def _simple(request: Mapping[str, Any]) -> dict[str, Any]:
    """One text with its pictures, which most models put first; where some stand behind text, their
    places are marked as LLaVA marks them."""
    parts = list(_parts([request]))
    pictures = [_opened(part["picture"]) for part in parts if "picture" in part]
    in_front = all("picture" in part for part in parts[: len(pictures)])
    mark = "" if in_front else "<image>"
    text = "".join(part.get("text", mark) for part in parts)
    return {"pictures": pictures, "text": text}


def _turns(doc: Mapping[str, Any]) -> Any:
    return doc["turns"]


def _visuals(doc: Mapping[str, Any]) -> Any:
    return doc["pictures"]


def main() -> None:
    stream = socket.socket(fileno=int(sys.argv[1])).makefile("rw", encoding="utf-8", newline="\n")
    holder = Holder()
    for line in stream:
        message = json.loads(line)
        try:
            reply = getattr(holder, message.pop("do"))(**message)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the other side
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        stream.write(json.dumps(reply) + "\n")
        stream.flush()


if __name__ == "__main__":
    main()
