"""What a person types to drive: keys, sentences, and scripts of them.

A line of the letters W, A, S and D alone, in either case, is as many presses of keys; any other
line is one action, a sentence or the text of a motion. A script is lines in a file, or lines in one
string with `;` between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unimm_eval import data
from unimm_eval.api import UserError
from unimm_eval.api.actions import WASD, Motion, command_text, parse_action

LONGEST_SCRIPT = 10_000


@dataclass(frozen=True, kw_only=True)
class Command:
    """`label` is what was typed, `text` the action that the model is given."""

    label: str
    text: str

    @property
    def motion(self) -> Motion | None:
        """Where it leads if it is a key or the text of a motion; None for free language."""
        return parse_action(self.text)


def commands_of(line: str) -> list[Command]:
    """At least one. Raises ValueError for a line without words."""
    line = line.strip()
    if line and set(line.upper()) <= WASD.keys():
        return [Command(label=key, text=command_text(key)) for key in line.upper()]
    return [Command(label=line, text=command_text(line))]


def read_script(script: str) -> tuple[list[Command], list[str]]:
    """Commands of a script, given as text or as a file's name, and what was skipped: each empty
    line by its number. Raises UserError for a script without any command, or far too long."""
    path = Path(script)
    try:
        in_file = path.is_file()
    except (OSError, ValueError):  # too long for a name, or a character that no name has
        in_file = False
    if in_file:
        lines, place = data.read_text(path).splitlines(), f"{path}, line"
    else:
        lines, place = script.split(";"), "part"
    commands: list[Command] = []
    skipped = []
    for number, line in enumerate(lines, start=1):
        try:
            commands += commands_of(line)
        except ValueError:
            skipped.append(f"{place} {number} is empty")
    if not commands:
        raise UserError(
            f"There is no command in {path if in_file else repr(script)}.",
            fix="A script is keys and sentences: 'WWWAAD', 'WW; turn left; W', or a file with one "
            "a line.",
        )
    if len(commands) > LONGEST_SCRIPT:
        raise UserError(
            f"The script has {len(commands):,} actions; {LONGEST_SCRIPT:,} are allowed."
        )
    return commands, skipped


def there_and_back(key: str, steps: int) -> list[str]:
    """Texts that go so many steps and come back: W and S undo each other. Raises KeyError for
    other keys, after which one is elsewhere."""
    undo = {"W": "S", "S": "W"}
    return [command_text(each) for each in (*[key] * steps, *[undo[key]] * steps)]


def texts_of(commands: Sequence[Command]) -> list[str]:
    return [command.text for command in commands]
