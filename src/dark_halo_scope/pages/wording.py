"""Numbers in words: how rates, intervals and counts are written on a page."""

import re
from collections.abc import Sequence

THIN = "\N{NARROW NO-BREAK SPACE}"
EN_DASH = "\N{EN DASH}"


def percent(rate: float | None) -> str:
    """Write a rate with three significant digits: ``74.1 %``, ``0.95 %``."""
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
    return 1 if rate >= 0.1 or rate == 0 else 2 if rate >= 0.001 else 3


def number(value: float | None, decimals: int = 3) -> str:
    """Write a number with fixed decimals; a dash where there is none."""
    return EN_DASH if value is None else f"{value:.{decimals}f}"


def number_interval(interval: Sequence[float] | None, decimals: int = 3) -> str:
    """Write both ends with fixed decimals; nothing where there is no interval."""
    return EN_DASH.join(f"{end:.{decimals}f}" for end in interval) if interval else ""


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
}
