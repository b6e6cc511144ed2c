"""The arms of the matrix: which kind of stamp each of its runs is not shown."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

REFERENCE = "reference"
COLUMNS = ("lens_model", "theta_e_arcsec", "src_dmag", "psf_fwhm_used_r", "psfdepth_r", "ra")
YARDSTICK = "sky"  # loses stamps and no kind: what fewer stamps cost by themselves
_MOST_GRID_VALUES = 12  # a column of fewer distinct values is a grid; continuous priors are cut at quantiles
_LENS = "lens_model != 'CONTROL'"


class ArmError(ValueError):
    """An arm that there is not."""


@dataclass(frozen=True)
class Arm:
    """A kind of stamp that some runs are not shown.

    Attributes:
        name: Short, for folders and options.
        title: What is left out, in words that fit an axis.
        leave_out: A `Condition` on train and val; None for the reference, which is shown everything.
        of_controls: Whether controls are left out too. If not, lenses alone are, and all controls are kept.
    """

    name: str
    title: str
    leave_out: str | None
    of_controls: bool = False


@dataclass(frozen=True)
class Impossible:
    """An arm that these data do not allow, and why."""

    name: str
    reason: str


def design(train: pa.Table) -> tuple[list[Arm], list[Impossible]]:
    """All arms that the data allow, the reference first, and those that they do not.

    Args:
        train: Metadata of the training stamps; of `COLUMNS`, those that the data have.
    """
    lenses = train.filter(pc.not_equal(train["lens_model"].cast(pa.string()), "CONTROL"))
    arms, impossible = [Arm(REFERENCE, "nothing", None)], []
    for found in (
        *_einstein_radii(lenses),
        *_lens_models(lenses),
        *_ends(lenses, "src_dmag", ("sources_bright", "brightest sources"), ("sources_faint", "faintest sources")),
        *_ends(train, "psf_fwhm_used_r", ("seeing_best", "best seeing"), ("seeing_worst", "worst seeing")),
        *_ends(train, "psfdepth_r", ("depth_shallow", "shallowest third"), ("depth_deep", "deepest third")),
        *_part_of_the_sky(train),
    ):
        if isinstance(found, Arm):
            arms.append(found)
        else:
            impossible.append(found)
    return arms, impossible


def choose(arms: list[Arm], impossible: list[Impossible], names: list[str] | None) -> list[Arm]:
    """The arms of these names and the reference; all of them without names.

    Raises:
        ArmError: When there is none of a name.
    """
    if names is None:
        return arms
    reasons = {arm.name: arm.reason for arm in impossible}
    for name in names:
        if name in reasons:
            raise ArmError(f"--arms {name} is not possible with these data: {reasons[name]}")
        if name not in {arm.name for arm in arms}:
            raise ArmError(f"--arms {name}: there is no such arm; these data allow {', '.join(a.name for a in arms)}")
    return [arm for arm in arms if arm.name in {REFERENCE, *names}]


def _einstein_radii(lenses: pa.Table) -> Iterator[Arm | Impossible]:
    """Each value of a grid, or the lower, middle and upper third."""
    values = _values(lenses, "theta_e_arcsec")
    distinct = np.unique(values)
    column = "theta_e_arcsec"
    if len(distinct) == 1:
        yield Impossible("theta_e", f"all lenses have the Einstein radius {distinct[0]} arcsec")
    elif len(distinct) <= _MOST_GRID_VALUES:
        for value in map(str, distinct):  # of a float32 the shortest digits: 0.3
            yield Arm(f"theta_e_{value}", f"θᴇ {value}″", f"{_LENS} and {column} == {value}")
    else:
        low, high = _thirds(values)
        yield Arm("theta_e_low", f"θᴇ below {low:.2f}″", f"{_LENS} and {column} <= {low}")
        between = f"{column} > {low} and {column} < {high}"
        yield Arm("theta_e_middle", f"θᴇ {low:.2f} to {high:.2f}″", f"{_LENS} and {between}")
        yield Arm("theta_e_high", f"θᴇ above {high:.2f}″", f"{_LENS} and {column} >= {high}")


def _lens_models(lenses: pa.Table) -> Iterator[Arm | Impossible]:
    models = sorted(set(lenses["lens_model"].to_pylist()))
    for shown, left_out in (("SIE", "SIS"), ("SIS", "SIE")):
        name = f"{shown.lower()}_to_{left_out.lower()}"
        if models == ["SIE", "SIS"]:
            yield Arm(name, f"{left_out} (shown {shown})", f"lens_model == '{left_out}'")
        else:
            yield Impossible(name, f"all lenses are of the model {', '.join(models)}")


def _ends(table: pa.Table, column: str, low: tuple[str, str], high: tuple[str, str]) -> Iterator[Arm | Impossible]:
    """The third with the lowest values and that with the highest: of the lenses for a source, else of all stamps."""
    reason = None
    if column not in table.column_names:
        reason = f"the data have no column {column}"
    elif len(np.unique(values := _values(table, column))) < 2:
        reason = f"the column {column} holds one value only" if len(values) else f"the column {column} holds no value"
    if reason:
        yield from (Impossible(name, reason) for name, _ in (low, high))
        return
    of_controls = column != "src_dmag"
    also = "" if of_controls else f"{_LENS} and "
    first, second = _thirds(values)
    yield Arm(*low, f"{also}{column} <= {first}", of_controls)
    yield Arm(*high, f"{also}{column} >= {second}", of_controls)


def _part_of_the_sky(train: pa.Table) -> Iterator[Arm | Impossible]:
    """Everything on one side of the median right ascension: as large a loss of training stamps as any, of no kind."""
    if "ra" not in train.column_names:
        yield Impossible(YARDSTICK, "the data have no column ra")
        return
    median = _shortest(np.median(_values(train, "ra")))
    yield Arm(YARDSTICK, f"sky at RA ≥ {median:.4g}°", f"ra >= {median}", of_controls=True)


def _values(table: pa.Table, column: str) -> NDArray[np.floating]:
    values: NDArray[np.floating] = table[column].drop_null().to_numpy()
    return values[np.isfinite(values)]


def _thirds(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = np.quantile(values, [1 / 3, 2 / 3], method="nearest")
    return _shortest(low), _shortest(high)


def _shortest(value: np.floating) -> float:
    """The value with six digits, which is what a reader of the condition wants."""
    return float(f"{value:.6g}")
