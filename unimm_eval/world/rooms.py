"""Rooms and what a camera sees in them: first-person views by ray casting.

A room is a rectangle of four walls, each with a colour and a pattern, and of round pillars from the
floor to the ceiling, which stand by the walls. Lengths are metres; a waypoint is a quarter of one,
as RECON's, so a room is 28 to 40 waypoints across. The room spans (0, 0) to (width, depth); yaw is
counter-clockwise from the x axis.

The camera is a pinhole with a view of 90 degrees, two waypoints above the floor, which it sees from
two waypoints away: a step of half a waypoint shows even in a picture of 32 x 32 pixels.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from unimm_eval.world.draw import coin, pick, pick_some
from unimm_eval.world.scenes import CANVAS, COLOR_NAMES, COLORS

WAYPOINT = 0.25
"""Metres."""
HEIGHT = 2.0
CAMERA = 0.5
TILE = 1.0
"""Metres a tile of the floor and a field of a pattern."""

PATTERNS = ("plain", "stripes", "bands", "checks")
SIDES = ("south", "east", "north", "west")
"""Of the walls, in order: y = 0, x = width, y = depth, x = 0."""

_SHORTEST, _LONGEST = 7.0, 10.0
_THIN, _THICK = 0.22, 0.36
_FROM_WALL, _OFF_WALL, _APART = 0.5, 1.3, 1.4
_DARK = 0.55  # of the second shade of a pattern
_FLOOR = ((74, 66, 58), (104, 94, 84))
_CEILING = (196, 204, 214)
_SAMPLES = 2  # a pixel, across and down
_FAR = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Pillar:
    """A round pillar; `x`, `y` and `radius` in metres."""

    x: float
    y: float
    radius: float
    color: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """`walls` are (colour, pattern) in the order of SIDES. No colour occurs twice in a room."""

    width: float
    depth: float
    walls: tuple[tuple[str, str], ...]
    pillars: tuple[Pillar, ...]

    def to_json(self) -> dict[str, Any]:
        """A small description from which `from_json` makes an equal room."""
        return {
            "kind": "room",
            "width": self.width,
            "depth": self.depth,
            "walls": [list(wall) for wall in self.walls],
            "pillars": [[p.x, p.y, p.radius, p.color] for p in self.pillars],
        }

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "Room":
        """The room that `to_json` described."""
        return cls(
            width=description["width"],
            depth=description["depth"],
            walls=tuple((color, pattern) for color, pattern in description["walls"]),
            pillars=tuple(
                Pillar(x=x, y=y, radius=radius, color=color)
                for x, y, radius, color in description["pillars"]
            ),
        )


def sample_room(rng: np.random.Generator) -> Room:
    """A room with two to four pillars by the walls, none near another."""
    width, depth = (_between(rng, _SHORTEST, _LONGEST) for _ in range(2))
    count = 2 + int(rng.random() * 3)
    colors = pick_some(rng, COLOR_NAMES, len(SIDES) + count)
    walls = tuple((color, pick(rng, PATTERNS)) for color in colors[: len(SIDES)])
    pillars: list[Pillar] = []
    for color in colors[len(SIDES) :]:
        x, y = _by_a_wall(rng, width), _between(rng, _FROM_WALL, depth - _FROM_WALL)
        if coin(rng):
            x, y = _between(rng, _FROM_WALL, width - _FROM_WALL), _by_a_wall(rng, depth)
        radius = _between(rng, _THIN, _THICK)
        if all(np.hypot(x - other.x, y - other.y) >= _APART for other in pillars):
            pillars.append(Pillar(x=x, y=y, radius=radius, color=color))
    return Room(width=width, depth=depth, walls=walls, pillars=tuple(pillars))


def clearance(room: Room, positions: np.ndarray) -> np.ndarray:
    """Metres from points [..., 2] to the nearest wall or pillar; negative inside one."""
    x, y = positions[..., 0], positions[..., 1]
    nearest = np.minimum(np.minimum(x, room.width - x), np.minimum(y, room.depth - y))
    for pillar in room.pillars:
        nearest = np.minimum(nearest, np.hypot(x - pillar.x, y - pillar.y) - pillar.radius)
    return nearest


def view(room: Room, poses: np.ndarray, *, size: int = CANVAS) -> np.ndarray:
    """What the camera sees at poses [F, 3]: uint8 [F, size, size, 3].

    Each pixel is the mean of `_SAMPLES` x `_SAMPLES` rays. Depth is measured along the view, so
    that straight edges stay straight.
    """
    fine = size * _SAMPLES
    across = (np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1
    poses = np.asarray(poses, dtype=np.float32)
    cos, sin = np.cos(poses[:, 2:]), np.sin(poses[:, 2:])
    ray_x_FC, ray_y_FC = cos + sin * across, sin - cos * across
    depth_FC, wall_FC, along_FC, pillar_FC = _hit(room, poses, ray_x_FC, ray_y_FC)

    up_R1 = -across[:, None]
    rise_FRC = up_R1 * depth_FC[:, None]  # of the ray above the camera, where it meets the wall
    half = fine // 2
    # Only the upper half can show the ceiling and only the lower one the floor.
    ceiling_FHC = rise_FRC[:, :half] >= HEIGHT - CAMERA
    floor_FHC = rise_FRC[:, half:] <= -CAMERA
    shade_FRC = _wall_shades(room, wall_FC, along_FC, pillar_FC, rise_FRC + CAMERA)
    np.copyto(shade_FRC[:, :half], _palette_index("ceiling"), where=ceiling_FHC)
    down_H1 = CAMERA / across[half:, None]
    x_FHC = poses[:, 0, None, None] + ray_x_FC[:, None] * down_H1
    y_FHC = poses[:, 1, None, None] + ray_y_FC[:, None] * down_H1
    # Inside the room coordinates are positive, so cutting digits off is the floor of them.
    tile_FHC = ((x_FHC / TILE).astype(np.int32) + (y_FHC / TILE).astype(np.int32)) & 1
    np.copyto(shade_FRC[:, half:], tile_FHC + _palette_index("floor"), where=floor_FHC)

    total_F3 = np.zeros((len(poses), size, size, 3), np.float32)
    for down, right in product(range(_SAMPLES), repeat=2):
        total_F3 += _palette().take(shade_FRC[:, down::_SAMPLES, right::_SAMPLES], axis=0)
    return np.rint(total_F3 / _SAMPLES**2).astype(np.uint8)


def _hit(
    room: Room, poses: np.ndarray, ray_x_FC: np.ndarray, ray_y_FC: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each column's ray ends: its depth, the wall, the metres along it, and the pillar in
    front of it (-1 for none); all [F, C]."""
    x, y = poses[:, 0:1], poses[:, 1:2]
    with np.errstate(divide="ignore"):
        to_x = np.where(ray_x_FC > 0, room.width - x, -x) / ray_x_FC
        to_y = np.where(ray_y_FC > 0, room.depth - y, -y) / ray_y_FC
    side = to_x < to_y
    depth = np.where(side, to_x, to_y)
    wall = np.where(side, np.where(ray_x_FC > 0, 1, 3), np.where(ray_y_FC > 0, 2, 0))
    along = np.where(side, y + depth * ray_y_FC, x + depth * ray_x_FC)
    nearest = np.full_like(wall, -1)
    square = ray_x_FC**2 + ray_y_FC**2
    for number, pillar in enumerate(room.pillars):
        ahead = ray_x_FC * (pillar.x - x) + ray_y_FC * (pillar.y - y)
        distance = (pillar.x - x) ** 2 + (pillar.y - y) ** 2 - pillar.radius**2
        root = ahead**2 - square * distance
        reached = (ahead - np.sqrt(np.maximum(root, 0))) / square
        reached = np.where((root > 0) & (reached > 0), reached, _FAR)
        nearest = np.where(reached < depth, number, nearest)
        depth = np.minimum(depth, reached)
    return depth, wall, along, nearest


def _wall_shades(
    room: Room,
    wall_FC: np.ndarray,
    along_FC: np.ndarray,
    pillar_FC: np.ndarray,
    height_FRC: np.ndarray,
) -> np.ndarray:
    """Index into the palette of what stands upright: [F, R, C]."""
    colors = np.array([COLOR_NAMES.index(color) for color, _ in room.walls])
    across = np.array([pattern in ("stripes", "checks") for _, pattern in room.walls])
    down = np.array([pattern in ("bands", "checks") for _, pattern in room.walls])
    stripe_FC = across[wall_FC] & (np.floor(along_FC / TILE).astype(np.int64) & 1 > 0)
    shade_FC = 2 * colors[wall_FC]
    banded_FC = down[wall_FC]
    if room.pillars:
        pillars = np.array([COLOR_NAMES.index(pillar.color) for pillar in room.pillars])
        plain_FC = pillar_FC >= 0
        shade_FC = np.where(plain_FC, 2 * pillars[pillar_FC], shade_FC)
        stripe_FC &= ~plain_FC
        banded_FC = banded_FC & ~plain_FC
    # Below the floor it does not matter, so digits may be cut off.
    band_FRC = ((height_FRC / TILE).astype(np.int32) & 1) > 0
    dark_FRC = stripe_FC[:, None] ^ (banded_FC[:, None] & band_FRC)
    return shade_FC[:, None] + dark_FRC


def _palette_index(name: str) -> int:
    return 2 * len(COLORS) + {"floor": 0, "ceiling": 2}[name]


@cache
def _palette() -> np.ndarray:
    """float32 [shades, 3]: each colour full and dark, the floor's two, the ceiling."""
    rows = [np.array(rgb) * part for rgb in COLORS.values() for part in (1.0, _DARK)]
    return np.array([*rows, *_FLOOR, _CEILING], dtype=np.float32)


def _by_a_wall(rng: np.random.Generator, side: float) -> float:
    near = _between(rng, _FROM_WALL, _OFF_WALL)
    return near if coin(rng) else round(side - near, 3)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return round(low + (high - low) * rng.random(), 3)
