"""Numbers in words: how rates, intervals and counts are written on a page."""

import math
import re
from collections.abc import Sequence

THIN = "\N{NARROW NO-BREAK SPACE}"
EN_DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def percent(rate: float | None) -> str:
    """Write a rate with two or three significant digits: ``74.1 %``, ``0.95 %``, ``0.0098 %``."""
    if rate is None:
        return EN_DASH
    return f"{100 * rate:.{_percent_decimals(rate)}f}{THIN}%"


def target_percent(rate: float) -> str:
    """Write a rate that somebody chose, without needless digits: ``1 %``, ``0.01 %``."""
    return f"{100 * rate:g}{THIN}%"


def percent_interval(interval: Sequence[float] | None, rate: float) -> str:
    """Write an interval with as many decimals as its `rate` gets."""
    if interval is None:
        return ""
    decimals = _percent_decimals(rate)
    return EN_DASH.join(f"{100 * end:.{decimals}f}" for end in interval) + f"{THIN}%"


def _percent_decimals(rate: float) -> int:
    """One from 10 % on; below, as many as two significant digits need, and two at least."""
    return 1 if rate >= 0.1 or rate <= 0 else max(2, 1 - math.floor(math.log10(100 * rate)))


def number(value: float | None, decimals: int = 3) -> str:
    """Write a number with fixed decimals; a dash where there is none."""
    return EN_DASH if value is None else f"{value:.{decimals}f}"


def number_interval(interval: Sequence[float] | None, decimals: int = 3) -> str:
    """Write both ends with fixed decimals; nothing where there is no interval."""
    return EN_DASH.join(f"{end:.{decimals}f}" for end in interval) if interval else ""


def significant(value: float) -> str:
    """Write a number with two significant digits, in full: ``0.031``, ``5.2``, ``1300``."""
    rounded = float(f"{value:.1e}")
    decimals = 1 - math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{max(0, decimals)}f}"


def significant_range(ends: Sequence[float]) -> str:
    """Write both ends with two significant digits."""
    return EN_DASH.join(significant(end) for end in ends)


def odds(rate: float) -> str:
    """Write a small rate as one in so many."""
    return f"1 in {count(round(1 / rate))}"


def p_value(p: float) -> str:
    """Write a probability of the null hypothesis: two significant digits, ``< 0.0001`` below."""
    return "< 0.0001" if p < 1e-4 else significant(p)


def signed(value: float, decimals: int = 3) -> str:
    """Write a difference with its sign, a true minus."""
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def signed_interval(interval: Sequence[float] | None, decimals: int = 3) -> str:
    """Write both ends of a difference; nothing where there is no interval."""
    return " to ".join(signed(end, decimals) for end in interval) if interval else ""


def count(n: int | None) -> str:
    """Group thousands by narrow spaces; a dash where the count is not known."""
    return EN_DASH if n is None else f"{n:,}".replace(",", THIN)


def grouped(text: str) -> str:
    """Group the thousands of the whole numbers in a sentence."""
    return re.sub(r"\d{4,}", lambda digits: count(int(digits.group())), text)


FILTERS = {
    "percent": percent,
    "percent_interval": percent_interval,
    "number": number,
    "number_interval": number_interval,
    "count": count,
    "grouped": grouped,
    "signed": signed,
    "signed_interval": signed_interval,
    "significant": significant,
    "significant_range": significant_range,
    "odds": odds,
    "p_value": p_value,
}
