"""Frames of a video file at the rate of a recipe, decoded with PyAV.

Frame k is the picture that is on the screen k / rate seconds after the first one, so how many there
are follows from the time of the last packet, and nothing is decoded to count them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimm_eval.api.pictures import MAX_PIXELS
from unimm_eval.train.data.bad import BadRecord

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

_EARLY = 1e-4
"""Seconds that a frame may be late and still be on the screen: time stamps are rounded."""


def count_frames(path: Path, *, rate: float) -> int:
    """Frames at `rate` a second. Raises BadRecord when it is no video."""
    with _opened(path) as (film, stream):
        ticks = [packet.pts for packet in film.demux(stream) if packet.pts is not None]
        if not ticks or stream.time_base is None:
            raise BadRecord(f"{path.name}: has no frame")
        if stream.width * stream.height > MAX_PIXELS:
            raise BadRecord(f"{path.name}: {stream.width}x{stream.height} pixels are too many")
        seconds = float(max(ticks) * stream.time_base) - _first(stream)
    return int((seconds + _EARLY) * rate) + 1


def read_frames(path: Path, *, rate: float, begin: int, end: int) -> list[np.ndarray]:
    """Frames `begin` to before `end` at `rate` a second, uint8 [height, width, 3]. Raises
    BadRecord when they cannot be decoded."""
    import av

    with _opened(path) as (film, stream):
        times = [_first(stream) + k / rate for k in range(begin, end)]
        found = None
        if begin:
            film.seek(int(times[0] * av.time_base), backward=True)
            found = _on_screen(film, stream, times, at_once=False)
            if found is None:  # a container that does not find its places
                film.seek(0)
        if found is None:
            found = _on_screen(film, stream, times, at_once=True)
    if found is None or len(found) < end - begin:
        raise BadRecord(f"{path.name}: ends before second {(end - 1) / rate:g}")
    return found


def _on_screen(
    film: "InputContainer", stream: "VideoStream", times: list[float], *, at_once: bool
) -> list[np.ndarray] | None:
    """What is on the screen at each of the times, as far as the video goes. With `at_once` the
    first frame there is counts as on the screen before it; otherwise None says that decoding began
    too late."""
    found: list[np.ndarray] = []
    before: VideoFrame | None = None
    for frame in film.decode(stream):
        if frame.time is None:
            continue
        if before is None and at_once:
            before = frame
        while len(found) < len(times) and frame.time > times[len(found)] + _EARLY:
            if before is None:
                return None
            found.append(before.to_ndarray(format="rgb24"))
        if len(found) == len(times):
            return found
        before = frame
    while before is not None and len(found) < len(times):
        if before.time + _EARLY < times[len(found)]:
            break
        found.append(before.to_ndarray(format="rgb24"))
    return found


def _first(stream: "VideoStream") -> float:
    """When the first frame is shown, in seconds."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    import av

    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise BadRecord(f"{path.name}: has no pictures")
            yield film, film.streams.video[0]
    except (av.FFmpegError, OSError) as error:
        raise BadRecord(f"{path.name}: not a video that can be read ({error})") from error
