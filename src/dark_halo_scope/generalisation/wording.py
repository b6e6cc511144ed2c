"""What an arm says, in a sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dark_halo_scope.generalisation.degradation import AUROC, EQUAL_RATE
from dark_halo_scope.pages.wording import EN_DASH, number, percent, signed, signed_interval, target_percent

FAILS, HOLDS, GAINS, UNKNOWN = "fails", "holds", "gains", "unknown"
_TOLD = {"lower": "lower", "higher": "higher", "not told apart": "not told apart from no change"}


def finding(arm: dict[str, Any], target_fpr: float) -> tuple[str, str]:
    """What became of the stamps that were left out, and the sentence that says it.

    Args:
        arm: Of `summary.summarise`, with its degradation.
        target_fpr: Of the completeness.
    """
    degradation = arm["degradation"]
    measures = {name: degradation["measures"][name] for name in (EQUAL_RATE, AUROC) if name in degradation["measures"]}
    if not measures:
        return UNKNOWN, f"Cannot be said: {next(iter(degradation['unsupported'].values()))}."
    verdicts = {measure["verdict"] for measure in measures.values()}
    sentence = f"Without having seen any, it {'; it '.join(_clause(n, m, target_fpr) for n, m in measures.items())}."
    if verdicts == {None}:
        one_seed = "one seed cannot tell a loss from the luck of training"
        return UNKNOWN, f"{sentence} No verdict: {degradation['no_intervals'] or one_seed}."
    return FAILS if "lower" in verdicts else GAINS if "higher" in verdicts else HOLDS, sentence


def _clause(name: str, measure: dict[str, Any], target_fpr: float) -> str:
    """What it reaches, what the reference does, the difference."""
    reference, left_out = (value(measure[side]["mean"], name) for side in ("reference", "left_out"))
    if name == EQUAL_RATE:
        rate = target_percent(target_fpr)
        told = f"finds {left_out} of them at a false-positive rate of {rate}, the reference {reference}"
    else:
        told = f"reaches AUROC {left_out} on them, the reference {reference}"
    difference = measure["difference"]
    told += f": {change(difference['mean'], name)}"
    if difference["total_interval"] is not None:
        told += f" ({change_interval(difference['total_interval'], name)})"
    return f"{told}, {_TOLD[measure['verdict']]}" if measure["verdict"] else told


def change(difference: float, measure: str) -> str:
    """A difference of rates in percentage points, one of AUROC as it is."""
    return signed(difference) if measure == AUROC else f"{signed(100 * difference, 1)} points"


def change_interval(ends: Sequence[float] | None, measure: str) -> str:
    """Both ends, in the unit of `change`."""
    if ends is None:
        return EN_DASH
    return signed_interval(ends) if measure == AUROC else signed_interval([100 * end for end in ends], 1)


def value(number_or_rate: float | None, measure: str) -> str:
    """AUROC with three decimals, a rate as a percentage."""
    if number_or_rate is None:
        return EN_DASH
    return number(number_or_rate) if measure == AUROC else percent(number_or_rate)


def scatter(std: float | None, measure: str) -> str:
    """A standard deviation over the seeds, in the unit of `change`."""
    if std is None:
        return EN_DASH
    return f"± {number(std)}" if measure == AUROC else f"± {number(100 * std, 1)}"


def lower_first(text: str) -> str:
    """For the middle of a sentence; an acronym stays."""
    return text if text[:2].isupper() else text[0].lower() + text[1:]


FILTERS: Mapping[str, Callable[..., str]] = {
    "value": value,
    "change": change,
    "change_interval": change_interval,
    "scatter": scatter,
    "lower_first": lower_first,
}
