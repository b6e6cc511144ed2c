"""Real workers on a real study, with jobs of a moment.

Each worker is a process of its own that can be killed; it is forked, because importing everything again takes longer
than all its trials.
"""

import gc
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from optuna.trial import TrialState

from dark_halo_scope.configuration import CONFIGS, plain_errors
from dark_halo_scope.search.storage import load_study
from tests.search import app

LR = "optimizer.lr=tag(log, interval(1e-5, 1e-1))"
NUMBERS = itertools.count()


def arguments(folder: Path, *overrides: str) -> list[str]:
    """What a worker's command line says, over the learning rate unless the overrides name a space."""
    space = [] if any(o.startswith("search_space=") for o in overrides) else ["search_space=none", LR]
    quick = ["search.heartbeat_s=1", "search.grace_s=4", "search.repeat.best=0"]
    start = ["-m", f"--config-dir={CONFIGS}", "hparams_search=optuna"]
    return [*start, *space, *quick, f"paths.log_dir={folder}/logs", "search.name=s", *overrides]


def job_config(folder: Path, *overrides: str) -> DictConfig:
    """The config of such a search."""
    words = ["hparams_search=optuna", "search.name=s", f"paths.log_dir={folder}/logs", *overrides]
    with initialize_config_dir(str(Path(__file__).parent), version_base="1.3"):
        return compose("job", [f"hydra.searchpath=[file://{CONFIGS}]", *words])


class Forked:
    """A Hydra app at work in a process of its own.

    Args:
        main: the app.
        words: its command line.
        log: file for all that it says.
        environment: variables beyond those of this process.
    """

    def __init__(
        self, main: Callable[[], None], words: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        gc.collect()  # a connection of this process that the child let go of would end this one's
        self.process = app.FORK.Process(target=_work, args=(main, words, log, environment or {}))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, timeout_s: float = 280) -> tuple[int | None, str]:
        """Wait for it: exit code and what it said."""
        self.process.join(timeout_s)
        return self.process.exitcode, self.log.read_text()


def start(folder: Path, *overrides: str, **environment: str) -> Forked:
    """Start a worker, with these variables beyond those of this process."""
    return Forked(app.main, arguments(folder, *overrides), folder / f"worker-{next(NUMBERS)}.log", environment)


def search(folder: Path, *overrides: str, **environment: str) -> tuple[int | None, str]:
    """Run a worker to its end: exit code and what it said."""
    return start(folder, *overrides, **environment).end()


def _work(main: Callable[[], None], words: list[str], log: Path, environment: Mapping[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest's own workers ignore it
    os.environ.update(environment)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    sys.argv = ["train.py", *words]
    with plain_errors():
        main()


def sqlite(folder: Path) -> str:
    """Where the searches below `folder` are kept by default."""
    return f"sqlite:///{folder}/logs/search/s/study.db"


def trials(url: str, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    return load_study(url, name).get_trials(deepcopy=False)


def states(url: str, name: str = "s") -> dict[str, int]:
    found = [trial.state.name for trial in trials(url, name)]
    return {name: found.count(name) for name in sorted(set(found))}


def wait_for(condition: Callable[[], bool], timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.2)


def running(url: str) -> list[optuna.trial.FrozenTrial]:
    """The trials that run now and have told who runs them; none while there is no study yet."""
    try:
        found = trials(url)
    except ValueError:
        return []
    return [t for t in found if t.state == TrialState.RUNNING and "worker" in t.user_attrs]
