"""The page of a search: what was tried, what it says about the parameters, what to train with."""

import statistics
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
from markupsafe import Markup
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dark_halo_scope.files import write_atomically
from dark_halo_scope.pages.page import render_page
from dark_halo_scope.search import plots
from dark_halo_scope.search.progress import short, words
from dark_halo_scope.search.recommend import Recommendation
from dark_halo_scope.search.repeats import Repeated
from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.tally import ERROR, OUTCOME, tally

MIN_TRIALS_FOR_IMPORTANCE = 4


def write_page(
    settings: Settings, study: Study, recommendations: Sequence[Recommendation], repeats: Sequence[Repeated]
) -> Path:
    """Write ``search.html`` into the folder of a search; returns its path."""
    trials = study.get_trials(deepcopy=False)
    page = render_page(
        "dark_halo_scope.search",
        "search.html.j2",
        {"short": short},
        name=settings.name,
        n_trials=settings.n_trials,
        objectives=settings.objectives,
        counts=tally(trials),
        recommendations=recommendations,
        repeats=repeats,
        parameters=list(dict.fromkeys(name for trial in trials for name in trial.params)),
        space=study.user_attrs["search"]["space"],
        conditions=study.user_attrs["search"]["conditions"],
        trials=[_row(trial) for trial in trials],
        took=_took(trials),
        plots=_plots(study, settings.objectives[0][0], [metric for metric, _ in settings.objectives]),
    )
    write_atomically(settings.folder / "search.html", page.encode())
    return settings.folder / "search.html"


def _plots(study: Study, metric: str, metrics: Sequence[str]) -> dict[str, Any]:
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return {}
    if len(metrics) > 1:
        return {"front": Markup(plots.front_plot(study, metrics))}
    importances = _importances(study)
    course = plots.intermediate_plot(study, metric)
    return {
        "history": Markup(plots.history_plot(study, metric)),
        "importance": Markup(plots.importance_plot(importances)) if importances else None,
        "intermediate": Markup(course) if course else None,
        "slices": {name: Markup(svg) for name, svg in plots.slice_plots(study, metric).items()},
        "parallel": Markup(plots.parallel_plot(study, metric)),
    }


def _importances(study: Study) -> dict[str, float]:
    """By fANOVA over the complete trials, for the parameters that all of them have; empty where nothing can be said."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    common = set.intersection(*(set(trial.params) for trial in complete))
    varied = [name for name in complete[0].params if name in common and len({t.params[name] for t in complete}) > 1]
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or not varied or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "number": trial.number,
        "state": attributes.get(OUTCOME, {TrialState.FAIL: "worker died"}.get(trial.state, trial.state.name.lower())),
        "values": trial.values or [],
        "params": trial.params,
        "epoch": attributes.get("epoch"),
        "max_epochs": attributes.get("max_epochs"),
        "took": words(trial.duration) if trial.duration else "",
        "error": attributes.get(ERROR, ""),
    }


def _took(trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """Typical duration of a complete and of a pruned trial, in words."""
    found = {"complete": "", "pruned": ""}
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        durations_s = [t.duration.total_seconds() for t in trials if t.state == state and t.duration]
        if durations_s:
            found[state.name.lower()] = words(timedelta(seconds=statistics.median(durations_s)))
    return found
