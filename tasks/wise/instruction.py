"""The judge's instruction, read out of the benchmark's released evaluator without running it.

The evaluator builds its messages in one function, as literals: a list of messages, each a list of
text and picture parts, the text with two fields of the prompt's record in it. The file is parsed as
a syntax tree and exactly that shape is accepted; nothing of it is executed.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import Picture, UserError
from unimm_eval.data import read_text

FUNCTION = "build_evaluation_messages"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of the prompt's record."""

    name: str


Template = tuple[str | Field, ...]


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What the judge is told: `system`, then `parts`, in which None is the picture."""

    system: Template
    parts: tuple[Template | None, ...]

    def fill(
        self, record: Mapping[str, str], picture: Picture
    ) -> tuple[str, tuple[str | Picture, ...]]:
        """(system, parts) for one record. Values are put in as they are."""
        return _filled(self.system, record), tuple(
            picture if part is None else _filled(part, record) for part in self.parts
        )


def read_instruction(path: Path) -> Instruction:
    """The instruction in an evaluator's file. Raises UserError when it is not of that shape."""
    try:
        tree = ast.parse(read_text(path), filename=str(path))
        return _instruction(tree)
    except (SyntaxError, ValueError) as error:
        raise UserError(
            f"{path} does not hold the judge's instruction where it is looked for: {error}.",
            fix="Get the pinned file: unimm-eval data fetch wise wise-verified",
        ) from error


def _instruction(tree: ast.Module) -> Instruction:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == FUNCTION:
            break
    else:
        raise ValueError(f"there is no function {FUNCTION}")
    returned = [item.value for item in node.body if isinstance(item, ast.Return)]
    if len(returned) != 1 or not isinstance(returned[0], ast.List) or not node.args.args:
        raise ValueError(f"{FUNCTION} does not return one list")
    record = node.args.args[0].arg
    by_role = {}
    for message in returned[0].elts:
        fields = _fields(message)
        content = fields["content"]
        if not isinstance(content, ast.List):
            raise ValueError("a message's content is no list")
        role = ast.literal_eval(fields["role"])
        by_role[role] = tuple(_part(part, record) for part in content.elts)
    if list(by_role) != ["system", "user"] or by_role["user"].count(None) != 1:
        raise ValueError(f"the messages are {list(by_role)}, with another number of pictures")
    (system,) = by_role["system"]
    if system is None:
        raise ValueError("the system's message is a picture")
    return Instruction(system=system, parts=by_role["user"])


def _fields(node: ast.expr) -> dict[str, ast.expr]:
    """A literal dictionary's values by its keys."""
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise ValueError(f"line {node.lineno} is no literal dictionary")
    return {
        ast.literal_eval(key): value
        for key, value in zip(node.keys, node.values, strict=True)
        if key is not None
    }


def _part(node: ast.expr, record: str) -> Template | None:
    """A text part as a template; a picture part as None."""
    fields = _fields(node)
    kind = ast.literal_eval(fields["type"])
    if kind == "image_url":
        return None
    if kind != "text":
        raise ValueError(f"line {node.lineno} is a part of type {kind}")
    text = fields["text"]
    pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
    return tuple(_piece(piece, record) for piece in pieces)


def _piece(node: ast.expr, record: str) -> str | Field:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(
            value=ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))),
            conversion=-1,
            format_spec=None,
        ) if name == record:
            return Field(name=key)
    raise ValueError(f"line {node.lineno} is neither text nor a field of the prompt's record")


def _filled(template: Template, record: Mapping[str, str]) -> str:
    return "".join(piece if isinstance(piece, str) else record[piece.name] for piece in template)
