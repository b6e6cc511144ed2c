"""A search on a terminal: how far it is, the best so far, and its trials in a table that fits the window."""

from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dark_halo_scope.search.progress import (
    best_value,
    elided,
    short,
    time_left,
    told,
    total,
    trial_left,
    values,
    word,
    words,
)
from dark_halo_scope.search.settings import Settings
from dark_halo_scope.search.tally import ERROR, OUTCOME, retried, state_of, tally

STYLES = {
    "complete": "green",
    "running": "bold",
    "pruned": "yellow",
    "diverged": "magenta",
    "failed": "red",
    "retried": "red",
    "waiting": "dim",
}
HEADER_LINES = 4  # of a table: two lines of names, a rule, and the line of what does not fit
UNLIMITED = Console(width=10_000)


def screen(settings: Settings, studies: Sequence[Study], width: int, height: int | None) -> RenderableType:
    """The search, and once they have begun its repeats; a window has room for the trials of the one at work.

    Args:
        settings: of the search.
        studies: that of the search, then that of its repeats where there is one.
        width: of the window.
        height: of the window; None for all trials.
    """
    top: list[RenderableType] = []
    for study in studies:
        top += [_bar(settings, study), *_best(study), *_last_error(study, width)]
    if height is None:
        return Group(*top, *(table(study, width, None) for study in studies))
    at_work = (study for study in reversed(studies) if study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    return Group(*top, table(next(at_work, studies[-1]), width, height - _lines(top, width) - HEADER_LINES - 1))


def table(study: Study, width: int, n_rows: int | None) -> Table:
    """The trials, newest last, with as many of their parameters as fit; what runs, and the best, is always among them.

    Args:
        study: to show.
        width: columns of the window.
        n_rows: number of trials that there is room for; None for all of them.
    """
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    best = {trial.number for trial in study.best_trials}
    rows = trials if n_rows is None else _fitting(trials, best, n_rows)
    n = len(names)  # none before the first draw
    shown = _table(study, rows, best, names)
    while n > 1 and UNLIMITED.measure(shown).maximum > width:
        n -= 1
        shown = _table(study, rows, best, names[:n])
    if left_out := [_last_part(name) for name in names[n:]]:
        shown.caption = f"a wider window shows {', '.join(left_out)}"
    return shown


def _table(study: Study, trials: Sequence[FrozenTrial], best: set[int], names: Sequence[str]) -> Table:
    again = retried(study.get_trials(deepcopy=False))
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left")
    shown.add_column("trial", justify="right", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    for column in (*(study.metric_names or ["value"]), "epoch", "left"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name in names:
        shown.add_column(_on_two_lines(_last_part(name)), no_wrap=True)
    for trial in trials:
        state = state_of(trial, trial.number in again)
        left = "" if (rest := trial_left(trial)) is None else words(rest)
        shown.add_row(
            f"{'* ' if trial.number in best else ''}{trial.number}",
            f"[{STYLES[state]}]{word(trial, state)}[/]",
            *values(trial, len(study.directions)),
            _epoch(trial),
            left,
            *(elided(short(trial.params[name])) if name in trial.params else "" for name in names),
            style="dim" if state in ("failed", "retried", "waiting") else "",
        )
    return shown


def _bar(settings: Settings, study: Study) -> RenderableType:
    counts, of = tally(study.get_trials(deepcopy=False)), total(settings, study)
    left = time_left(study, of)
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(
        Text(study.study_name, style="bold"),
        ProgressBar(total=max(of, 1), completed=counts.finished, width=24, complete_style="green"),
        f"{counts.finished} of {of}",
        "" if left is None else f"about {words(left)} left",
    )
    return Group(line, ", ".join(told(counts)))


def _best(study: Study) -> list[RenderableType]:
    """The best value with all its parameters, which the table may have no room for."""
    if not (said := best_value(study)):
        return []
    parameters = " ".join(f"{_last_part(name)}={short(value)}" for name, value in study.best_trial.params.items())
    return [f"{said[0]}: {escape(parameters)}"]


def _last_error(study: Study, width: int) -> list[RenderableType]:
    """What the newest trial that failed, or was refused, said first."""
    said = [trial for trial in study.get_trials(deepcopy=False) if ERROR in trial.user_attrs]
    if not said:
        return []
    words = f"trial {said[-1].number} {said[-1].user_attrs[OUTCOME]}: {said[-1].user_attrs[ERROR].splitlines()[0]}"
    line = Text(words, style=STYLES["failed"], no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return [line]


def _epoch(trial: FrozenTrial) -> str:
    epoch = trial.user_attrs.get("epoch")
    return "" if epoch is None else f"{epoch}/{trial.user_attrs.get('max_epochs', '?')}"


def _fitting(trials: Sequence[FrozenTrial], best: set[int], n_rows: int) -> list[FrozenTrial]:
    always = [t for t in trials if t.state == TrialState.RUNNING or t.number in best]
    others = [t for t in trials if t not in always]
    room = max(0, n_rows - len(always))
    return sorted(always + (others[-room:] if room else []), key=lambda trial: trial.number)


def _last_part(name: str) -> str:
    return name.lstrip("+").split(".")[-1].split("/")[-1]


def _on_two_lines(name: str) -> str:
    """Broken at the underscore next to its middle."""
    breaks = [k for k, letter in enumerate(name) if letter == "_"]
    if not breaks:
        return name
    k = min(breaks, key=lambda at: abs(at - len(name) / 2))
    return f"{name[:k]}\n{name[k + 1 :]}"


def _lines(parts: Sequence[RenderableType], width: int) -> int:
    console = Console(width=width)
    return len(console.render_lines(Group(*parts)))
