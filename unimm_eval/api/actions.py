"""Actions as text (paper §5, appendix F.1): how a model that predicts frames is told to move.

A motion is where the camera of the next frame stands, seen from the frame before: `dx` ahead and
`dy` to the left in waypoint units (a data set's waypoint spacing is one), and then `dyaw` radians
of turning, counter-clockwise. The motion over several steps is one motion too: the pose that they
end at, seen from where they began.

The text of a motion is its three numbers in hundredths, each with its sign and at least three
digits, one behind the other: half a waypoint ahead is `+050+000+000`, the same with a turn of an
eighth of a circle to the right `+050+000-079`. Every digit stands in one place, and that is 6
tokens of LLaMA-3's vocabulary (a sign and up to three digits are one each) and 12 where a digit is
a token. Anything else is an action in free language and goes to the model as it is.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_NUMBER = r"([+-](?:\d{3}|[1-9]\d{3,}))"
_TEXT = re.compile(3 * _NUMBER, re.ASCII)
_PARTS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """`dx` ahead and `dy` to the left, in waypoints, then `dyaw` radians counter-clockwise."""

    dx: float = 0.0
    dy: float = 0.0
    dyaw: float = 0.0


WASD: Mapping[str, Motion] = MappingProxyType(
    {
        "W": Motion(dx=0.5),
        "A": Motion(dx=0.2, dyaw=0.5),
        "S": Motion(dx=-0.5),
        "D": Motion(dx=0.2, dyaw=-0.5),
    }
)
"""The four keys (appendix F.1), read as waypoint units: ahead, left, back and right."""


def action_text(motion: Motion) -> str:
    """The one text of a motion, to the nearest hundredth; the turn is taken to [-π, π). Raises
    ValueError for what is not finite."""
    turn = (motion.dyaw + math.pi) % (2 * math.pi) - math.pi
    return "".join(f"{round(value * _PARTS):+04d}" for value in _finite(motion.dx, motion.dy, turn))


def parse_action(text: str) -> Motion | None:
    """The motion whose text this is, or None for free language."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    dx, dy, dyaw = (int(number) / _PARTS for number in found.groups())
    motion = Motion(dx=dx, dy=dy, dyaw=dyaw)
    return motion if action_text(motion) == text else None


def command_text(command: str) -> str:
    """The action that a person's command stands for: a key of WASD, in either case, is the text of
    its motion; anything else is given as it is. Raises ValueError for an empty one."""
    command = command.strip()
    if not command:
        raise ValueError("a command has no words")
    motion = WASD.get(command.upper())
    return command if motion is None else action_text(motion)


def _finite(*values: float) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a motion is finite numbers, not {values}")
    return values
