"""How numbers with errors are written: as many digits as the error justifies."""

import math


def decimals_for(value: float, stderr: float | None) -> int:
    """Decimals that show two significant digits of `stderr`, or four of `value` without one; never
    more than six of `value`, however small its error."""
    if stderr is not None and stderr > 0:
        most = 5 - _exponent(value) if value else 6
        return _clamp(min(1 - _exponent(stderr), most))
    if value == 0 or 0.1 <= abs(value) <= 1:
        return 3
    return _clamp(3 - _exponent(value))


def with_error(value: float, stderr: float | None) -> str:
    """`0.843 ± 0.021`; without an error, `0.843`."""
    decimals = decimals_for(value, stderr)
    if stderr is None:
        return f"{value:,.{decimals}f}"
    return f"{value:,.{decimals}f} ± {stderr:,.{decimals}f}"


def as_interval(interval: tuple[float, float] | None, *, value: float, stderr: float | None) -> str:
    """`0.801 to 0.882`, in the decimals of the value; empty without an interval."""
    if interval is None:
        return ""
    decimals = decimals_for(value, stderr)
    return f"{interval[0]:,.{decimals}f} to {interval[1]:,.{decimals}f}"


def plain_number(value: float) -> str:
    """A number without an error, in three significant decimals at most: `0.25`, `12.5`, `64`."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:,.{decimals_for(value, None)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


TOO_SMALL = 1e-5


def as_change(value: float, stderr: float | None) -> str:
    """A difference: `+0.012 ± 0.008`; one too small for six decimals as `1.2e-09 ± 3.0e-10`."""
    if 0 < max(abs(value), stderr or 0) < TOO_SMALL:
        return f"{value:+.1e}" + ("" if stderr is None else f" ± {stderr:.1e}")
    return ("+" if value > 0 else "") + with_error(value, stderr)


def as_range(interval: tuple[float, float] | None, *, value: float, stderr: float | None) -> str:
    """The interval of a difference, written as `as_change` writes the difference."""
    if interval is not None and 0 < max(abs(value), stderr or 0) < TOO_SMALL:
        return f"{interval[0]:.1e} to {interval[1]:.1e}"
    return as_interval(interval, value=value, stderr=stderr)


def as_p_value(p: float | None) -> str:
    """`0.031`; empty without one."""
    if p is None:
        return ""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _clamp(decimals: int) -> int:
    return min(6, max(0, decimals))
