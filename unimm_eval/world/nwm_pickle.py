"""Pickles of NWM's data sets, read without running anything that is in them.

A pickle may name any function of any module and have it called. Here nothing is called: the few
names that numpy arrays are written with stand for plain records of what was written, from which
arrays of numbers are made; every other name is refused.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import UserError

MAX_BYTES = 64 * 2**20
"""More than any trajectory's poses or any index take."""
_NUMBERS = "fiub"  # kinds of dtypes


def load_plain(path: Path) -> Any:
    """A pickle of lists, tuples, dictionaries, texts and numbers. Raises UserError, which names the
    file, for one that is anything else."""
    return _load(path, {})


def load_arrays(path: Path) -> Any:
    """A pickle that may hold numpy arrays of numbers, too. Raises UserError, which names the file,
    for one that holds anything else."""
    try:
        return _plain(path, _load(path, _RECORDS))
    except RecursionError as error:
        raise UserError(f"{path}: lists within lists without end.") from error


class _Record:
    """What numpy wrote: a name, the arguments behind it and the state set on it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Record):
    """`_reconstruct(ndarray, (0,), b"b")`, with state (version, shape, dtype, fortran, bytes)."""

    def made(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        return _filled(data, dtype, shape, fortran=fortran)


class _Buffer(_Record):
    """`_frombuffer(bytes, dtype, shape, order)` of protocol 5."""

    def made(self) -> np.ndarray:
        data, dtype, shape, order = self.arguments
        return _filled(data, dtype, shape, fortran=order == "F")


class _Scalar(_Record):
    """`scalar(dtype, bytes)`."""

    def made(self) -> np.ndarray:
        dtype, data = self.arguments
        return _filled(data, dtype, (), fortran=False)


class _Dtype(_Record):
    """`dtype("f8", False, True)`, with the byte order second in its state."""

    def dtype(self) -> np.dtype[Any]:
        name, order = self.arguments[0], self.state[1] if self.state else "="
        if not isinstance(name, str) or name[:1] not in _NUMBERS or not name[1:].isdigit():
            raise ValueError(f"numbers of type {name!r}")
        return np.dtype(name if order == "|" else order + name)


class _Bytes(_Record):
    """`encode(text, "latin1")`: how protocols before 3 write bytes."""

    def data(self) -> bytes:
        text, encoding = self.arguments
        if encoding != "latin1":
            raise ValueError(f"bytes written as {encoding!r}")
        return str(text).encode("latin1")


class _Name(_Record):
    """`ndarray` itself, which is only ever an argument."""


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_RECORDS: Mapping[tuple[str, str], type[_Record]] = {
    **{(module, "_reconstruct"): _Array for module in _MULTIARRAY},
    **{(module, "scalar"): _Scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _Buffer for module in _NUMERIC},
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Name,
    ("_codecs", "encode"): _Bytes,
}


def _filled(data: Any, dtype: Any, shape: Any, *, fortran: bool) -> np.ndarray:
    data = data.data() if isinstance(data, _Bytes) else data
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise ValueError("an array of something other than numbers")
    flat = np.frombuffer(data, dtype.dtype())
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _load(path: Path, known: Mapping[tuple[str, str], type[_Record]]) -> Any:
    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Callable[..., Any]:
            if (module, name) not in known:
                raise UserError(
                    f"{path}: the pickle names {module}.{name}, which is not data; it is not read.",
                    fix="Get the file from where the data set is published, or write its poses as "
                    "traj_data.safetensors (position [T, 2], yaw [T]).",
                )
            return known[module, name]

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path}: {size:,} bytes, more than the {MAX_BYTES:,} allowed.")
        return Restricted(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UserError:
        raise
    except Exception as error:  # whatever a damaged pickle makes the machine do
        raise UserError(f"{path}: not a pickle that can be read ({error}).") from error


def _plain(path: Path, value: Any) -> Any:
    """The same with arrays in place of what numpy wrote."""
    if isinstance(value, dict):
        return {key: _plain(path, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(path, part) for part in value]
    if isinstance(value, _Array | _Buffer | _Scalar):
        try:
            return value.made()
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: not an array of numbers ({error}).") from error
    if isinstance(value, _Record):
        raise UserError(f"{path}: holds something that is neither a number nor an array.")
    return value
