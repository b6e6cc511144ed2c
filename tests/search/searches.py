"""Real workers on a real study, with jobs of a moment."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import TrialState

from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.search.storage import load_study

LR = "optimizer.lr=tag(log, interval(1e-5, 1e-1))"


def command(folder: Path, *overrides: str) -> list[str]:
    """A worker's command line, over the learning rate unless the overrides name a space."""
    space = [] if any(o.startswith("search_space=") for o in overrides) else ["search_space=none", LR]
    quick = ["search.heartbeat_s=1", "search.grace_s=2", "search.repeat.best=0"]
    start = [sys.executable, "-m", "tests.search.app", "-m", "hparams_search=optuna", *space, *quick]
    return [*start, f"paths.log_dir={folder}/logs", "search.name=s", *overrides]


def start(folder: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    """Start a worker."""
    return subprocess.Popen(
        command(folder, *overrides),
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def search(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    """Run a worker to its end: exit code and what it said."""
    worker = start(folder, *overrides, **environment)
    said, _ = worker.communicate(timeout=120)
    return worker.returncode, said


def sqlite(folder: Path) -> str:
    """Where the searches below `folder` are kept by default."""
    return f"sqlite:///{folder}/logs/search/s/study.db"


def trials(url: str, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    return load_study(url, name).get_trials(deepcopy=False)


def states(url: str, name: str = "s") -> dict[str, int]:
    found = [trial.state.name for trial in trials(url, name)]
    return {name: found.count(name) for name in sorted(set(found))}


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)


def running(url: str) -> list[optuna.trial.FrozenTrial]:
    """The trials that run now and have told who runs them; none while there is no study yet."""
    try:
        found = trials(url)
    except ValueError:
        return []
    return [t for t in found if t.state == TrialState.RUNNING and "worker" in t.user_attrs]
