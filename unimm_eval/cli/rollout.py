"""`unimm-eval rollout`: drive a model through what it imagines, by keys and sentences."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer

from unimm_eval.api import Picture, PredictsFrames, SampleError, UserError, encode_png
from unimm_eval.engine.registry import find_adapter
from unimm_eval.judges.frame_quality import qualities
from unimm_eval.judges.weights import resolve_device
from unimm_eval.report.plain import one_line
from unimm_eval.tasks.recordings import context_of, trajectory_at
from unimm_eval.tasks.rollout.commands import Command, commands_of, read_script, texts_of
from unimm_eval.tasks.rollout.driving import CONTEXT_FRAMES, drive, later_seed
from unimm_eval.tasks.rollout.film import NoEncoder, Row, gif, sheet, write_mp4
from unimm_eval.tasks.rollout.task import KEYS
from unimm_eval.tasks.rollout.truth import RoomTruth
from unimm_eval.world.nwm_datasets import FRAMES_PER_SECOND
from unimm_eval.world.nwm_pictures import SIZE, shown

LEAVE = ("q", "quit", "exit")
HELD = 4
"""Steps that a key is held in the sheet, at most."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Four frames to begin from, uint8 [height, width, 3]; `truth` where the world knows it."""

    frames: list[np.ndarray]
    name: str
    truth: RoomTruth | None = None


@dataclass(kw_only=True)
class Drive:
    """One that goes on: what was said so far, and the frames it led to."""

    model: Any
    start: Start
    seed: int
    remember: int
    denoising: dict[str, Any]
    commands: list[Command] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)

    def go(self, commands: Sequence[Command]) -> None:
        """Raises UserError when what is said does not fit the model."""
        done = len(self.frames)
        context = [*self.start.frames, *self.frames][-CONTEXT_FRAMES:]
        seed = later_seed(self.seed, done) if done else self.seed
        self.frames += list(self._driven(context, [texts_of(commands)], [seed])[0])
        self.commands += commands

    def others(self, scripts: Sequence[Sequence[Command]]) -> list[np.ndarray]:
        """Frames [A, height, width, 3] of each other script from the same start, by the same
        noise."""
        return [
            self._driven(self.start.frames, [texts_of(script)], [self.seed])[0]
            for script in scripts
        ]

    def _driven(
        self, context: list[np.ndarray], scripts: list[list[str]], seeds: list[int]
    ) -> np.ndarray:
        return drive(
            self.model,
            context,
            scripts,
            seeds=seeds,
            remember=self.remember,
            denoising=self.denoising,
        )


def rollout_command(
    *,
    model: str,
    actions: str | None,
    against: Sequence[str],
    room: int,
    trajectory: Path | None,
    frame: int,
    pictures: Sequence[Path],
    output: Path,
    seed: int,
    steps: int,
    guidance_scale: float,
    remember: int,
    device: str,
    dtype: str,
) -> None:
    """Drive by a script, or by what is typed. Raises UserError."""
    script, skipped = read_script(actions) if actions is not None else ([], [])
    others = [read_script(text) for text in against]
    start = _start(room=room, trajectory=trajectory, frame=frame, pictures=pictures)
    for told in (*skipped, *(told for _, more in others for told in more)):
        typer.echo(f"skipped: {one_line(told)}", err=True)
    adapter = find_adapter(model)
    if "PredictsFrames" not in adapter.capabilities_for(model):
        raise UserError(
            f"Model {model} cannot drive: it lacks PredictsFrames.",
            fix="unimm-eval models lists which can.",
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written: {error.strerror}.", fix="Name another with --output."
        ) from error
    loaded = adapter.load(model, device=resolve_device(device), dtype=dtype)
    assert isinstance(loaded, PredictsFrames)
    driving = Drive(
        model=loaded,
        start=start,
        seed=seed,
        remember=remember,
        denoising={"num_inference_steps": steps, "guidance_scale": guidance_scale},
    )
    if actions is None:
        _by_hand(driving, output)
    else:
        driving.go(script)
    if not driving.frames:
        typer.echo("Nothing was driven.")
        return
    _write(driving, [commands for commands, _ in others], output, skipped=len(skipped))


def _by_hand(driving: Drive, output: Path) -> None:
    """Line by line until the input ends; what was driven last stands in `latest.png`."""
    typer.echo(
        "W, A, S, D, or a sentence; several keys are several steps; an empty line or q ends."
    )
    for line in _lines():
        commands = commands_of(line)
        driving.go(commands)
        latest = driving.frames[-len(commands) :]
        row = Row(title="", frames=latest, captions=[command.label for command in commands])
        (output / "latest.png").write_bytes(encode_png(sheet([row])))
        typer.echo(f"{len(driving.frames)}: {_told(driving)}{output / 'latest.png'}")


def _lines() -> Iterator[str]:
    while True:
        sys.stdout.write("> ")
        sys.stdout.flush()
        line = sys.stdin.readline().strip()
        if not line or line.lower() in LEAVE:
            return
        yield line


def _told(driving: Drive) -> str:
    """How near the last frame is to the truth, where it is known."""
    truth = _truth(driving)[-1] if driving.start.truth else None
    if truth is None:
        return ""
    (psnr,), _ = qualities([shown(driving.frames[-1], size=truth.shape[0])], [truth])
    return f"{psnr:.1f} dB from the true frame, "


def _truth(driving: Drive) -> list[np.ndarray | None]:
    truth = driving.start.truth
    return truth.frames(driving.commands) if truth else [None] * len(driving.commands)


def _write(
    driving: Drive, others: Sequence[Sequence[Command]], output: Path, *, skipped: int
) -> None:
    """All files of a drive, and what they are."""
    labels = [command.label for command in driving.commands]
    now = driving.start.frames
    title = [*(f"{number} before" for number in range(len(now) - 1, 0, -1)), "now"]
    rows = [Row(title="predicted", frames=[*now, *driving.frames], captions=[*title, *labels])]
    truth = _truth(driving)
    if any(frame is not None for frame in truth):
        rows.append(Row(title="true", frames=[*now, *truth], captions=[*title, *labels]))
    held = min(HELD, len(labels))
    scripts = [*others] or [commands_of(key * held) for key in KEYS]
    alternatives = [
        Row(
            title="".join(c.label for c in script) if others else f"{script[0].label} held",
            frames=[now[-1], *frames],
            captions=["now", *(command.label for command in script)],
        )
        for script, frames in zip(scripts, driving.others(scripts), strict=True)
    ]
    size = driving.frames[0].shape[0]
    film = [*(shown(frame, size=size) for frame in now), *driving.frames]
    written = {
        "film strip": ("strip.png", encode_png(sheet(rows))),
        "other commands": ("sheet.png", encode_png(sheet(alternatives))),
        "film": ("drive.gif", gif(film, seconds=1 / FRAMES_PER_SECOND)),
    }
    for name, data in written.values():
        (output / name).write_bytes(data)
    for number, frame in enumerate(driving.frames):
        (output / f"frame-{number:04d}.png").write_bytes(encode_png(frame))
    for what, (name, _) in written.items():
        typer.echo(f"{what:<15} {output / name}")
    try:
        write_mp4(output / "drive.mp4", film, frames_per_second=FRAMES_PER_SECOND)
        typer.echo(f"{'video':<15} {output / 'drive.mp4'}")
    except NoEncoder as error:
        typer.echo(f"skipped: no video, {one_line(str(error))}", err=True)
    measured = _measured(driving, truth)
    (output / "drive.json").write_text(
        json.dumps(_facts(driving, measured, skipped), indent=1) + "\n", encoding="utf-8"
    )
    for name, value in measured.items():
        if isinstance(value, float):
            typer.echo(f"{name:<15} {value:.2f} dB")


def _measured(driving: Drive, truth: Sequence[np.ndarray | None]) -> dict[str, Any]:
    """PSNR from the truth of each frame and their mean, and of W and S there and back."""
    found: dict[str, Any] = {}
    now = driving.start.frames[-1]
    known = [(f, t) for f, t in zip(driving.frames, truth, strict=True) if t is not None]
    if known:
        seen = [shown(frame, size=true.shape[0]) for frame, true in known]
        psnr, _ = qualities(seen, [true for _, true in known])
        found |= {"from the truth": float(np.mean(psnr)), "psnr": psnr}
    scripts = [commands_of("WWSS"), commands_of("SSWW")]
    for script, frames in zip(scripts, driving.others(scripts), strict=True):
        size = now.shape[0]
        (alike,), _ = qualities([shown(frames[-1], size=size)], [shown(now, size=size)])
        found["".join(command.label for command in script) + " and back"] = alike
    return found


def _facts(driving: Drive, measured: dict[str, Any], skipped: int) -> dict[str, Any]:
    return {
        "model": driving.model.name,
        "fingerprint": driving.model.fingerprint,
        "begun_at": driving.start.name,
        "commands": [command.label for command in driving.commands],
        "actions": texts_of(driving.commands),
        "skipped": skipped,
        "seed": driving.seed,
        "remember": driving.remember,
        **driving.denoising,
        "measured": measured,
    }


def _start(*, room: int, trajectory: Path | None, frame: int, pictures: Sequence[Path]) -> Start:
    """Where the drive begins. Raises UserError."""
    if pictures and trajectory is not None:
        raise UserError("--picture and --trajectory are two beginnings.", fix="Give one of them.")
    try:
        if pictures:
            return _of_pictures(pictures)
        if trajectory is not None:
            found = trajectory_at(trajectory.parent, trajectory.name)
            first = frame - CONTEXT_FRAMES + 1
            if fault := found.fault(range(first, frame + 1)):
                raise UserError(fault, fix="Name another with --frame: the last of four.")
            return Start(
                frames=context_of(found, frame, size=SIZE), name=f"{found.name}, frame {frame}"
            )
    except SampleError as error:
        raise UserError(error.what, fix=error.fix) from error
    truth = RoomTruth.of(room)
    return Start(frames=truth.context(), name=f"room {room}", truth=truth)


def _of_pictures(pictures: Sequence[Path]) -> Start:
    if len(pictures) != CONTEXT_FRAMES:
        raise UserError(
            f"{len(pictures)} pictures are given.",
            fix=f"A drive begins from {CONTEXT_FRAMES}: --picture four times.",
        )
    frames = [Picture(path=path).load() for path in pictures]
    if len({frame.shape for frame in frames}) > 1:
        sizes = ", ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in frames)
        raise UserError(
            f"The pictures are of several sizes: {sizes}.", fix="Give four of one size."
        )
    return Start(frames=[shown(frame) for frame in frames], name=str(pictures[-1]))
