"""What `sweep.py` does: start workers and watch them, look at a study, write it out."""

import csv
import io
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from rich.console import Console
from rich.live import Live

from dark_halo_scope.configuration import CONFIGS, REPOSITORY
from dark_halo_scope.files import write_atomically
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.page import write_page
from dark_halo_scope.search.progress import News, headline
from dark_halo_scope.search.recommend import recommend, repeats_of
from dark_halo_scope.search.repeats import repeats_name
from dark_halo_scope.search.screen import screen
from dark_halo_scope.search.settings import Settings, read_settings
from dark_halo_scope.search.space import belongs, key_of
from dark_halo_scope.search.storage import load_study
from dark_halo_scope.search.tally import READY, tally

LOOK_EVERY_S = 1.0
EXIT_UNFINISHED = 1


def search(overrides: Sequence[str], n_workers: int) -> int:
    """Run workers until the search is finished; show a table meanwhile, a page and a command at the end."""
    overrides = with_search(overrides)
    settings = read_settings(compose_search(overrides))
    console = Console(highlight=False)
    console.print(f"search {settings.name} in {settings.folder}")
    settings.folder.mkdir(parents=True, exist_ok=True)
    workers = [_start(k, n_workers, overrides, settings.folder) for k in range(n_workers)]
    try:
        _watch(console, settings, workers)
    except KeyboardInterrupt:
        for worker in workers:  # the terminal has told them too; others have not
            worker.send_signal(signal.SIGINT)
            worker.wait()
    codes = [worker.returncode for worker in workers]
    if any(codes):
        console.print(_last_words(settings.folder, codes), markup=False, soft_wrap=True)
    return _end(console, settings, stopped=any(codes))


def status(folder: Path) -> int:
    """Show where a search stands."""
    settings = read_settings(compose_search(kept_overrides(folder)))
    load_study(settings.storage, settings.name)  # or the sentence that says why not
    console = Console(highlight=False)
    console.print(screen(settings, _studies(settings), console.width, height=None))
    return 0


def export(folder: Path, file: Path) -> int:
    """Write every trial of a search, one a line."""
    settings = read_settings(compose_search(kept_overrides(folder)))
    studies = _studies(settings)
    names = sorted({name for study in studies for trial in study.trials for name in trial.params})
    metrics = [metric for metric, _ in settings.objectives]
    text = io.StringIO()
    columns = ["study", "trial", "state", *metrics, *names, "started", "ended", "overrides", "error"]
    lines = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    lines.writeheader()
    for study in studies:
        for trial in study.trials:
            attributes = trial.user_attrs
            line: dict[str, Any] = {"study": study.study_name, "trial": trial.number}
            line["state"] = attributes.get("outcome", trial.state.name.lower())
            line |= {"started": trial.datetime_start, "ended": trial.datetime_complete}
            line |= {"overrides": " ".join(attributes.get(READY, [])), "error": attributes.get("error", "")}
            lines.writerow(line | dict(zip(metrics, trial.values or [], strict=False)) | trial.params)
    write_atomically(file, text.getvalue().encode())
    sys.stdout.write(f"{sum(len(study.trials) for study in studies)} trials in {file}\n")
    return 0


def kept_overrides(folder: Path, changes: Sequence[str] = ()) -> list[str]:
    """The overrides that a search was started with, as far as `changes` leave them; then those.

    Raises:
        SearchError: the folder is not one of a search.
    """
    file = folder / "search.yaml"
    if not file.exists():
        raise SearchError(f"{folder} is not the folder of a search: it has no search.yaml")
    changed = {key_of(word) for word in changes}
    kept = [str(word) for word in OmegaConf.load(file).overrides]
    return [*(word for word in kept if key_of(word) not in changed), *changes]


def composed(words: Sequence[str]) -> DictConfig:
    """The config of `train.py` with these overrides."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(words))


def with_search(overrides: Sequence[str]) -> list[str]:
    """The overrides, with the default search where they choose none."""
    chosen = any(key_of(word) == "hparams_search" for word in overrides)
    return [*overrides] if chosen else ["hparams_search=optuna", *overrides]


def compose_search(overrides: Sequence[str]) -> DictConfig:
    """The config of the search that these overrides start.

    Without those that sweep, and those for Hydra itself, whose launcher may be another machine's.
    """
    words = [word for word in overrides if not belongs(word, ("hydra",))]
    parsed = OverridesParser.create().parse_overrides(words)
    return composed([word for word, override in zip(words, parsed, strict=True) if not override.is_sweep_override()])


def _start(k: int, n_workers: int, overrides: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker whose output goes to a file; on a machine with several GPUs, each worker gets its own."""
    environment = dict(os.environ)
    if n_workers > 1:
        import torch

        environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // n_workers)))
        if (n_gpus := torch.cuda.device_count()) > 1 and "CUDA_VISIBLE_DEVICES" not in environment:
            environment["CUDA_VISIBLE_DEVICES"] = str(k % n_gpus)
    command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *overrides]
    with (folder / f"worker-{k}.log").open("ab") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _watch(console: Console, settings: Settings, workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Show the studies until the workers have ended: a table that follows on a terminal, else a line for each news."""
    news, studies = News(), list[Study]()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            over = all(worker.poll() is not None for worker in workers)
            studies += _studies(settings, len(studies))
            if console.is_terminal and studies:
                live.update(screen(settings, studies, console.width, console.height), refresh=True)
            for line in () if console.is_terminal else itertools.chain.from_iterable(map(news.of, studies)):
                console.print(line, markup=False, soft_wrap=True)
            if over:
                return
            time.sleep(LOOK_EVERY_S)


def _studies(settings: Settings, n_known: int = 0) -> list[Study]:
    """The study, and that of its repeats, as far as they have begun and beyond those that are known."""
    found = []
    for name in (settings.name, repeats_name(settings.name))[n_known:]:
        try:
            found.append(load_study(settings.storage, name))
        except SearchError:
            break
    return found


def _end(console: Console, settings: Settings, stopped: bool) -> int:
    study = load_study(settings.storage, settings.name)
    if not console.is_terminal:  # which shows it above
        console.print(headline(settings, study))
    recommendations = recommend(study)
    for recommendation in recommendations:
        recommendation.verify(composed)
        console.print(str(recommendation), markup=False, soft_wrap=True)
    page = write_page(settings, study, recommendations, repeats_of(study))
    console.print(f"page: {page}", markup=False, soft_wrap=True)
    counts = tally(study.get_trials(deepcopy=False))
    unfinished = stopped or counts.running + counts.waiting > 0 or not recommendations
    if unfinished:
        console.print(f"to go on: python sweep.py --resume {settings.folder}", markup=False, soft_wrap=True)
    return EXIT_UNFINISHED if unfinished else 0


def _last_words(folder: Path, codes: Sequence[int]) -> str:
    """The end of the log of each worker that did not end well."""
    said = []
    for k, code in enumerate(codes):
        if code:
            log = folder / f"worker-{k}.log"
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            said += [f"worker {k} ended with exit code {code}: {log}", *(f"  {line}" for line in lines[-2:])]
    return "\n".join(said)


optuna.logging.set_verbosity(optuna.logging.ERROR)
