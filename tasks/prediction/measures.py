"""Networks that compare frames: LPIPS always, DreamSim and Inception where they are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unimm_eval import data
from unimm_eval.api import UserError
from unimm_eval.judges import dreamsim_distance, inception, lpips_distance

LPIPS, DREAMSIM, FID = "lpips", "dreamsim", "fid"
DEFINITION = inception.DEFINITIONS["clean"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """`path` of its files, or None; `told` is what it is, or why it is absent."""

    told: str
    path: Path | None = None


def networks(files: Mapping[str, data.DataFile], data_dir: Path) -> dict[str, Network]:
    """By measure. Raises UserError when LPIPS, the headline, is not there."""
    alexnet = data.verify(files[lpips_distance.FILE], data_dir, task="prediction")
    return {
        LPIPS: _present(lpips_distance.LABEL, alexnet, data.sha256_file(alexnet)),
        DREAMSIM: _dreamsim(data_dir),
        FID: _inception(files, data_dir),
    }


def _dreamsim(data_dir: Path) -> Network:
    try:
        folder = dreamsim_distance.find(data_dir)
    except UserError as error:
        return Network(told=f"absent: {error.what}")
    digest = dreamsim_distance.WEIGHTS.sha256(data_dir)
    return _present(dreamsim_distance.LABEL, folder, digest)


def _inception(files: Mapping[str, data.DataFile], data_dir: Path) -> Network:
    try:
        path = data.verify(files[DEFINITION.file], data_dir, task="prediction")
    except UserError as error:
        return Network(told=f"absent: {error.what}")
    return _present(DEFINITION.label, path, data.sha256_file(path))


def _present(label: str, path: Path, digest: str) -> Network:
    return Network(told=f"{label} {digest[:16]}", path=path)
