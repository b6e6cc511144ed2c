"""What each sweeper can do, found by running it: every line is what came of the same thing asked of both."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.sweepers.contenders import OURS, Asked, Contender, start, sweep, url
from dark_halo_scope.configuration import CONFIGS

KEPT_BACK = "hydra.sweeper.max_failure_rate=1.0"  # the peer's word for going on after failures
SAMPLERS = "from hydra.core.config_store import ConfigStore as C; import hydra_plugins.hydra_optuna_sweeper.config; "
SAMPLERS += "print(' '.join(C.instance().list('hydra/sweeper/sampler')))"
Probe = Callable[[Contender, Path], str]


def cover(ours: Contender, peer: Contender, folder: Path) -> list[dict[str, str]]:
    """Ask both everything, each one thing after the other, side by side."""

    def observed(contender: Contender) -> list[str]:
        return [probe(contender, folder / contender.name / str(k)) for k, probe in enumerate(PROBES.values())]

    with ThreadPoolExecutor() as both:
        columns = both.map(observed, (ours, peer))
    return [
        {"asked": asked, ours.name: here, peer.name: there} for asked, here, there in zip(PROBES, *columns, strict=True)
    ]


def _pruned(contender: Contender, folder: Path) -> str:
    return _one_ends(contender, folder, "prune")


def _failed(contender: Contender, folder: Path) -> str:
    told = _one_ends(contender, folder, "raise")
    if contender.name == OURS:
        return told
    tolerant = _one_ends(contender, folder / "tolerant", "raise", KEPT_BACK)
    return f"{told}; with max_failure_rate=1.0: {tolerant}"


def _diverged(contender: Contender, folder: Path) -> str:
    return _one_ends(contender, folder, "nan")


def _one_ends(contender: Contender, folder: Path, end: str, *more: str) -> str:
    """Three trials are asked for, of which the second ends otherwise."""
    code = sweep(contender, Asked(folder, 3, ends={"1": end}, more=more))
    trials = _trials(folder)
    complete = [trial.state for trial in trials].count(TrialState.COMPLETE)
    error = trials[1].user_attrs.get("error", "")
    kept = f" ({error})" if error else ""
    ended = "search goes on" if code == 0 else f"search ends, exit code {code}"
    return f"{_state(trials[1])}{kept}, {ended}, {complete} complete"


def _killed(contender: Contender, folder: Path) -> str:
    hanging = start(contender, Asked(folder, 3, ends={"1": "hang"}))
    while len(_trials(folder)) < 2:
        time.sleep(0.2)
    time.sleep(0.5)
    hanging.send_signal(signal.SIGKILL)
    hanging.wait()
    sweep(contender, Asked(folder, 3))
    trials = _trials(folder)
    again = any(1 in trial.system_attrs.get("retry_history", []) for trial in trials)
    return f"{_state(trials[1])}, {'tried again' if again else 'not tried again'}; {_counted(trials)}"


def _again(contender: Contender, folder: Path) -> str:
    for _ in range(2):
        sweep(contender, Asked(folder, 3))
    trials, folders = _trials(folder), [path for path in (folder / "search").glob("*") if path.is_dir()]
    return f"{len(trials)} trials, {_points(trials)} different points, {len(folders)} job folders"


def _shared(contender: Contender, folder: Path) -> str:
    sweep(contender, Asked(folder, 1))  # makes the database
    for worker in [start(contender, Asked(folder, 6)) for _ in range(2)]:
        worker.wait()
    trials = _trials(folder)
    return f"{len(trials)} trials, {_points(trials)} different points"


def _conditional(contender: Contender, folder: Path) -> str:
    rate = "optimizer.lr=1e-3"
    if contender.name == OURS:
        asked, way = Asked(folder, 6, space=(), more=[rate, "search_space=preprocessing"]), "`when` in the space"
    else:
        function = "benchmarks.sweepers.conditional.extend"
        choice = "transforms=choice(annulus_asinh, mad_clip)"
        asked = Asked(folder, 6, space=(choice,), more=[rate, f"hydra.sweeper.custom_search_space={function}"])
        way = "a Python function"
    code = sweep(contender, asked)
    drawn = {(t.params["transforms"], "transforms.normalise.clip" in t.params) for t in _trials(folder)}
    worked = code == 0 and drawn == {("annulus_asinh", False), ("mad_clip", True)}
    return way if worked else f"{way}: {_last_words(folder)}"


def _two(contender: Contender, folder: Path) -> str:
    if contender.name == OURS:
        more = ["hparams_search=two_objectives"]
    else:
        more = ["hydra.sweeper.direction=[maximize,maximize]"]
    sweep(contender, Asked(folder, 4, job="two", more=more))
    return f"{len(_study(folder).best_trials)} of 4 trials on the front"


def _samplers(contender: Contender, folder: Path) -> str:
    if contender.name == OURS:
        return ", ".join(sorted(file.stem for file in (CONFIGS / "hparams_search" / "sampler").glob("*.yaml")))
    listed = subprocess.run([contender.python, "-c", SAMPLERS], capture_output=True, text=True, check=True).stdout
    return ", ".join(sorted(name.removesuffix(".yaml") for name in listed.split()))


def _journal(contender: Contender, folder: Path) -> str:
    key = "search.storage" if contender.name == OURS else "hydra.sweeper.storage"
    code = sweep(contender, Asked(folder, 2, more=[f"{key}=journal:///{folder}/study.log"]))
    return "yes" if code == 0 else f"no: {_last_words(folder)}"


def _end(contender: Contender, folder: Path) -> str:
    more = ["search.repeat.best=1"] if contender.name == OURS else []
    sweep(contender, Asked(folder, 3, more=more))
    said = (folder / "sweep.log").read_text()
    found = [f"{name} of the best again" for name in _names(folder) if name == "s-repeats"]
    found += ["a command, composed and compared"] if "recommended (trial" in said else []
    found += [path.name for path in (folder / "search").glob("optimization_results.yaml")]
    return ", ".join(found)


PROBES: dict[str, Probe] = {
    "a trial that is pruned (of 3)": _pruned,
    "a trial that fails (of 3)": _failed,
    "a trial whose value is NaN (of 3)": _diverged,
    "kill -9 in mid-trial, and the same command again (3 trials)": _killed,
    "the same command again after its end (3 trials)": _again,
    "two processes on a study that has 1 of 6 trials": _shared,
    "parameters that depend on others": _conditional,
    "two objectives that oppose each other": _two,
    "samplers by name": _samplers,
    "a journal file as storage": _journal,
    "at the end": _end,
}


def _trials(folder: Path) -> list[FrozenTrial]:
    """The trials so far; none while there is no study yet."""
    return _study(folder).get_trials(deepcopy=False) if "s" in _names(folder) else []


def _study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=url(folder))


def _names(folder: Path) -> list[str]:
    if not (folder / "search").exists():  # made after the study: who looks too early spoils the database
        return []
    return optuna.get_all_study_names(url(folder))


def _state(trial: FrozenTrial) -> str:
    """Optuna's word, and ours where it says more."""
    outcome = str(trial.user_attrs.get("outcome", "")).upper()
    return trial.state.name + (f" as {outcome.lower()}" if outcome not in ("", trial.state.name, "FAILED") else "")


def _counted(trials: list[FrozenTrial]) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(Counter(trial.state.name for trial in trials).items()))


def _points(trials: list[FrozenTrial]) -> int:
    return len({json.dumps(trial.params, sort_keys=True) for trial in trials})


def _last_words(folder: Path) -> str:
    return (folder / "sweep.log").read_text().strip().splitlines()[-1]
