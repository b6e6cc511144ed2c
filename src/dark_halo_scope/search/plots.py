"""The plots of a search, drawn from its study in the look of the other pages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dark_halo_scope.pages.figures import CONTROL, LENS, TEXT, house_style, new_axes, to_svg
from dark_halo_scope.search.progress import elided, short

PANEL_INCHES = (2.7, 2.4)
GOOD_SHARE = 0.25  # of the complete trials: those that are drawn in colour
JITTER = 0.12  # of a category's width


@house_style
def history_plot(study: Study, metric: str) -> str:
    """Value of each trial in the order they were begun, and the best so far."""
    figure, axes = new_axes()
    complete, pruned = _with_value(study, TrialState.COMPLETE), _with_value(study, TrialState.PRUNED)
    axes.plot([t.number for t in pruned], _drawn(pruned, complete), "x", color=CONTROL, ms=6, label="pruned")
    axes.plot([t.number for t in complete], _values(complete), "o", color=LENS, ms=5, label="complete")
    numbers, values = [t.number for t in complete], np.array(_values(complete))
    best = (np.maximum if study.direction == StudyDirection.MAXIMIZE else np.minimum).accumulate(values)
    axes.step(
        [*numbers, len(study.trials) - 1], [*best, best[-1]], where="post", color=TEXT, lw=1.2, label="best so far"
    )
    axes.set(xlabel="trial", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(axes)
    return to_svg(
        figure, "history", f"{metric} of {len(complete)} complete and {len(pruned)} pruned trials; best {best[-1]:.5f}"
    )


@house_style
def importance_plot(importances: dict[str, float]) -> str:
    """Share of the variation between trials that each parameter accounts for."""
    figure, axes = new_axes()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color=LENS, height=0.6)
    for name in names:
        axes.annotate(
            f"{importances[name]:.2f}", (importances[name], name), (4, 0), textcoords="offset points", va="center"
        )
    axes.set(xlabel="importance", xlim=(0, 1.18 * max(importances.values())))
    axes.grid(visible=False, axis="y")
    axes.margins(y=0.05)
    return to_svg(figure, "importance", ", ".join(f"{name} {share:.2f}" for name, share in importances.items()))


@house_style
def intermediate_plot(study: Study, metric: str) -> str | None:
    """The course of each trial over its validations; None if none reported any."""
    trials = [t for t in study.trials if t.intermediate_values]
    if not trials:
        return None
    figure, axes = new_axes()
    best = study.best_trial.number
    drawn: set[str] = set()
    for trial in sorted(trials, key=lambda t: t.number == best):
        name = "complete"
        style: dict[str, Any] = {"color": TEXT, "lw": 1, "alpha": 0.35}
        if trial.state == TrialState.PRUNED:
            name, style = "pruned", {"color": CONTROL, "lw": 1, "ls": "--", "alpha": 0.75}
        if trial.number == best:
            name, style = f"best (trial {best})", {"color": LENS, "lw": 2.2}
        steps = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[step] for step in steps]
        axes.plot(steps, values, marker="o", ms=3, label=None if name in drawn else name, **style)
        drawn.add(name)
    axes.set(xlabel="validation", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(axes)
    return to_svg(figure, "intermediate", f"{metric} of {len(trials)} trials after each validation")


@house_style
def slice_plots(study: Study, metric: str) -> dict[str, str]:
    """The value against each parameter, a plot for each."""
    complete, pruned = _with_value(study, TrialState.COMPLETE), _with_value(study, TrialState.PRUNED)
    plots = {}
    for k, (name, distribution) in enumerate(_distributions(study).items()):
        figure = Figure(figsize=PANEL_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for trials, marker, colour in ((pruned, "x", CONTROL), (complete, "o", LENS)):
            having = [t for t in trials if name in t.params]
            at = _positions(distribution, [t.params[name] for t in having], jitter=True)
            axes.plot(at, _drawn(having, complete), marker, color=colour, ms=4.5)
        _scale(axes, distribution)
        axes.set(xlabel=name)
        plots[name] = to_svg(figure, f"slice{k}", f"{metric} against {name}")
    return plots


@house_style
def parallel_plot(study: Study, metric: str) -> str:
    """A line a complete trial, through all its parameters; the best quarter in colour."""
    distributions = _distributions(study)
    complete = _with_value(study, TrialState.COMPLETE)
    is_max = study.direction == StudyDirection.MAXIMIZE
    ranked = sorted(complete, key=lambda t: t.value or 0.0, reverse=is_max)
    good = {t.number for t in ranked[: max(1, round(GOOD_SHARE * len(ranked)))]}
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.add_subplot()
    names = [*distributions, metric]
    values = np.array(_values(complete))
    low, high = float(values.min()), float(values.max())
    for trial in sorted(complete, key=lambda t: t.number in good):
        at = [_relative(distributions[n], trial.params[n]) if n in trial.params else np.nan for n in distributions]
        at.append((float(trial.value or 0.0) - low) / (high - low) if high > low else 0.5)
        style: dict[str, Any] = (
            {"color": LENS, "lw": 2} if trial.number in good else {"color": TEXT, "lw": 0.8, "alpha": 0.3}
        )
        axes.plot(range(len(names)), at, marker="o", ms=3.5, **style)
    halo = [withStroke(linewidth=3, foreground="white")]  # a choice in the middle stands where lines meet
    for k, name in enumerate(names):
        ticks = _ticks(distributions[name]) if name in distributions else [(0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")]
        axes.axvline(k, color=TEXT, lw=0.8, alpha=0.5)
        for height, text in ticks:
            aside = (5, 3) if height else (5, -11)  # below the lines that meet at the lowest choice
            axes.annotate(text, (k, height), aside, textcoords="offset points", fontsize=9, path_effects=halo)
    axes.set(xticks=range(len(names)), xticklabels=[_broken(name) for name in names], yticks=[], ylim=(-0.1, 1.1))
    axes.set(xlim=(-0.1, len(names) - 0.35))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return to_svg(figure, "parallel", f"The parameters of {len(complete)} trials; the best {len(good)} in colour")


@house_style
def front_plot(study: Study, metrics: Sequence[str]) -> str:
    """Both objectives of each trial, and those that none beats in both."""
    figure, axes = new_axes()
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    axes.plot(
        [t.values[0] for t in complete],
        [t.values[1] for t in complete],
        "o",
        color=TEXT,
        alpha=0.4,
        ms=5,
        label="trials",
    )
    front = sorted(study.best_trials, key=lambda t: t.values[0])
    axes.plot(
        [t.values[0] for t in front],
        [t.values[1] for t in front],
        "o-",
        color=LENS,
        ms=7,
        label="none is better in both",
    )
    for trial in front:
        axes.annotate(str(trial.number), trial.values[:2], (6, 5), textcoords="offset points", fontsize=9)
    axes.set(xlabel=metrics[0], ylabel=metrics[1])
    _legend_below(axes)
    return to_svg(
        figure, "front", f"{metrics[0]} against {metrics[1]} of {len(complete)} trials, {len(front)} on the front"
    )


def _with_value(study: Study, state: TrialState) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False, states=(state,)) if t.value is not None]


def _values(trials: Sequence[FrozenTrial]) -> list[float]:
    return [float(t.value) for t in trials if t.value is not None]


def _drawn(trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]) -> list[float]:
    """Values as they are drawn: what was pruned far behind lies at the edge, to leave room for the complete ones."""
    values = _values(complete)
    span = max(values) - min(values) or abs(max(values)) / 10
    return [float(value) for value in np.clip(_values(trials), min(values) - span, max(values) + span)]


def _distributions(study: Study) -> dict[str, Any]:
    return {name: of for trial in study.get_trials(deepcopy=False) for name, of in trial.distributions.items()}


def _positions(distribution: Any, values: Sequence[Any], jitter: bool) -> list[float]:
    if not isinstance(distribution, CategoricalDistribution):
        return [float(value) for value in values]
    aside = np.random.default_rng(0).uniform(-JITTER, JITTER, len(values)) if jitter else np.zeros(len(values))
    return [distribution.choices.index(value) + float(by) for value, by in zip(values, aside, strict=True)]


def _relative(distribution: Any, value: Any) -> float:
    """Where a value lies between the ends of its axis, 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(1, len(distribution.choices) - 1)
    low, high, at = distribution.low, distribution.high, value
    if distribution.log:
        low, high, at = np.log([low, high, at])
    return float((at - low) / (high - low)) if high > low else 0.5


def _ticks(distribution: Any) -> list[tuple[float, str]]:
    if isinstance(distribution, CategoricalDistribution):
        return [(_relative(distribution, choice), elided(short(choice))) for choice in distribution.choices]
    return [(0.0, short(distribution.low)), (1.0, short(distribution.high))]


def _scale(axes: Axes, distribution: Any) -> None:
    if isinstance(distribution, CategoricalDistribution):
        labels = [_broken(short(choice)) for choice in distribution.choices]
        axes.set(xticks=range(len(labels)), xticklabels=labels, xlim=(-0.5, len(labels) - 0.5))
        axes.grid(visible=False, axis="x")
    elif distribution.log:
        axes.set_xscale("log")
    axes.tick_params(labelsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _legend_below(axes: Axes) -> None:
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=9, columnspacing=1.2, handlelength=1.5
    )


def _broken(name: str) -> str:
    """A long name on lines that fit below an axis."""
    return name.replace(".", ".\n").replace("_", "_\n", 1) if len(name) > 12 else name
