"""Text and numbers as a reader of a table or page meets them."""

import pytest

from unimm_eval.report.numbers import as_interval, plain_number, with_error
from unimm_eval.report.plain import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]8;;http://a\x07link", "␛]8;;http://a␇link"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("a\rb\x00c\x7f", "a␍b␀c␡"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\x9b31m", "\ufffd31m"),
        ("lone \udcff surrogate", "lone \ufffd surrogate"),
        ("a\u00a0b", "a b"),
        ("日本語 ‖v̂‖ 👩\u200d🚀", "日本語 ‖v̂‖ 👩\u200d🚀"),
    ],
)
def test_nothing_in_a_text_is_obeyed(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 1500, limit=1000) == "x" * 1000 + "… (+500 characters)"
    assert visible("x" * 1000, limit=1000) == "x" * 1000


def test_one_line_stays_one_line() -> None:
    assert one_line("a\nb\u2028c\x0bd") == "a↵b\ufffdc␋d"


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (0.84321, 0.0212, "0.843 ± 0.021"),
        (0.84321, 0.00212, "0.8432 ± 0.0021"),
        (12.3456, 0.512, "12.35 ± 0.51"),
        (1234.56, 12.3, "1,235 ± 12"),
        (768.0000271, 1e-13, "768.000 ± 0.000"),
        (0.0, 0.25, "0.00 ± 0.25"),
        (0.5, None, "0.500"),
        (1.0, 0.0, "1.000 ± 0.000"),
        (0.0, None, "0.000"),
        (23.456, None, "23.46"),
        (1e-9, 1e-10, "0.000000 ± 0.000000"),
    ],
)
def test_digits_follow_the_error(value: float, stderr: float | None, shown: str) -> None:
    assert with_error(value, stderr) == shown


def test_an_interval_has_the_digits_of_its_value() -> None:
    assert as_interval((0.80123, 0.88456), value=0.843, stderr=0.021) == "0.801 to 0.885"
    assert as_interval(None, value=0.843, stderr=0.021) == ""


@pytest.mark.parametrize(
    ("value", "shown"), [(0.25, "0.25"), (64, "64"), (0.0625, "0.0625"), (1 / 3, "0.333"), (0, "0")]
)
def test_plain_numbers_carry_no_idle_zeros(value: float, shown: str) -> None:
    assert plain_number(value) == shown
