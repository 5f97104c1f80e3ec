"""DPG-Bench's files: 1,065 prompts in an archive, and one table of all questions.

The prompts are read out of any `.tar.gz` with a folder `prompts`: the repository's own archive at
the pinned commit, or that folder alone. What pins them is git's id of the folder's content, so the
bytes of the archive may differ. Nothing is unpacked to the disk.
"""

import csv
import hashlib
import io
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from unimm_eval.api import UserError
from unimm_eval.data import read_text
from unimm_eval.tasks.dpgbench.graph import Question

COLUMNS = ("item_id", "proposition_id", "dependency", "tuple", "question_natural_language")
"""Of the table's nine, those that say something; the other four repeat them."""

_FOLDER = "prompts"
_MAX_BYTES = 1 << 16  # of one prompt; the longest has 891
_MAX_PROMPTS = 10_000
_SHOWN = 10  # problems that one message tells


def read_prompts(path: Path, *, tree: str, count: int) -> dict[str, str]:
    """Prompt by id, sorted by id. Raises UserError naming the archive and the file in it for an
    archive that is not whole, an id that is there twice, text that is not UTF-8 or is empty, and
    content that is not the pinned one."""
    files = _prompt_files(path)
    prompts: dict[str, str] = {}
    for name, data in sorted(files.items()):
        try:
            prompts[PurePosixPath(name).stem] = data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: {name} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}."
            ) from error
        if not data.strip():
            raise UserError(f"{path}: {name} is empty.")
    if (found := git_tree(files)) != tree:
        missing = "" if len(files) == count else f"{len(files):,} prompts instead of {count:,}: "
        raise UserError(
            f"{path} holds other prompts than the pinned ones: {missing}git tree {found} "
            f"instead of {tree}.",
            fix="Remove it and get it again: unimm-eval data fetch dpgbench",
        )
    return prompts


def _prompt_files(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.parent.name != _FOLDER or place.suffix != ".txt" or not member.isfile():
                    continue
                if place.name in files:
                    raise UserError(f"{path}: prompt {place.stem} is there twice.")
                if member.size > _MAX_BYTES or len(files) == _MAX_PROMPTS:
                    raise UserError(f"{path}: {member.name} is more than a prompt can be.")
                source = archive.extractfile(member)
                assert source is not None  # it is a file
                files[place.name] = source.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(
            f"{path} is not a whole .tar.gz: {error}.",
            fix="Remove it and get it again: unimm-eval data fetch dpgbench",
        ) from error
    return files


def git_tree(files: Mapping[str, bytes]) -> str:
    """Git's id of a folder that holds these files: SHA-1 of their names and their contents' ids."""
    body = b"".join(
        b"100644 " + name.encode() + b"\0" + _git_object(b"blob", data).digest()
        for name, data in sorted(files.items(), key=lambda entry: entry[0].encode())
    )
    return _git_object(b"tree", body).hexdigest()


def _git_object(kind: bytes, data: bytes) -> "hashlib._Hash":
    return hashlib.sha1(b"%s %d\0" % (kind, len(data)) + data, usedforsecurity=False)


def read_questions(path: Path) -> dict[str, list[Question]]:
    """Questions by prompt id, as the rows of the table have them, in its order.

    Raises one UserError with the line of each row that is not whole: another number of cells, no
    prompt id or question, a number that is none. What rows say together (a question twice, a parent
    that is not there) is up to `faults_of`.
    """
    reader = csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff"), newline=""))
    questions: dict[str, list[Question]] = defaultdict(list)
    problems: list[str] = []
    try:
        header = next(reader)
        if missing := [name for name in COLUMNS if name not in header]:
            raise UserError(f"{path} has no column {', '.join(missing)}.")
        row = 0
        for cells in reader:
            if not cells:
                continue
            try:
                key, question = _question(cells, header, row=row)
                questions[key].append(question)
            except ValueError as error:
                problems.append(f"line {reader.line_num}: {error}")
            row += 1
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} is not CSV: {error}.") from error
    if problems:
        more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UserError(
            f"{path} has rows that are not whole:\n" + "\n".join(problems[:_SHOWN]) + more,
            fix="Remove it and get it again: unimm-eval data fetch dpgbench",
        )
    return dict(questions)


def _question(cells: list[str], header: list[str], *, row: int) -> tuple[str, Question]:
    """(prompt id, question) of a row. Raises ValueError saying what is wrong with it."""
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} cells instead of {len(header)}")
    key, number, parents, named, text = (cells[header.index(name)].strip() for name in COLUMNS)
    if not key or not text:
        raise ValueError("no item_id" if not key else "no question")
    ids = [_number(part, "dependency") for part in parents.split(",")]
    return key, Question(
        id=_number(number, "proposition_id"),
        row=row,
        parents=[each for each in ids if each != 0],
        category=named.split("(")[0].strip(),
        question=text,
    )


def _number(text: str, column: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"{column} {text!r} is not a number")
    return int(text)
