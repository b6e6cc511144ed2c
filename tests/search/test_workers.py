"""Several workers on one study, as real processes: the total, and what survives a kill."""

import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.search.postgres import find_server, server
from tests.search.searches import running, search, sqlite, start, states, trials, wait_for

PROGRAMS = find_server()


def pids(found: list[FrozenTrial]) -> list[int]:
    """The workers of trials."""
    return [int(trial.user_attrs["worker"].split(":")[1]) for trial in found]


def runs_on(url: str, pid: int) -> bool:
    return pids(running(url)) == [pid]


def kill_one_of_three(folder: Path, url: str) -> None:
    """Eight trials by three workers, of whom one dies in mid-trial."""
    give = [f"search.storage={url}", "search.n_trials=8"]
    victim = start(folder, *give, JOB_SECONDS="600")
    wait_for(partial(runs_on, url, victim.pid))
    others = [start(folder, *give, JOB_SECONDS="0.1") for _ in range(2)]
    wait_for(lambda: states(url).get("COMPLETE", 0) > 0)
    victim.send(signal.SIGKILL)
    assert victim.end()[0] == -signal.SIGKILL
    for worker in others:
        code, said = worker.end()
        assert code == 0, said
        assert "recommended (trial" in said
    found = trials(url)
    assert Counter(trial.state for trial in found) == {TrialState.COMPLETE: 8, TrialState.FAIL: 1}
    (attempt,) = [trial for trial in found if trial.state == TrialState.FAIL]
    (again,) = [trial for trial in found if trial.system_attrs.get("retry_history") == [attempt.number]]
    assert pids([attempt]) == [victim.pid]
    assert again.params == attempt.params
    assert len({trial.params["optimizer.lr"] for trial in found}) == 8  # no two workers drew the same

    code, said = search(folder, *give)
    assert code == 0, said
    assert "recommended (trial" in said
    assert "Launching" not in said
    assert len(trials(url)) == 9


def test_a_killed_worker_costs_no_trial_sqlite(tmp_path: Path):
    kill_one_of_three(tmp_path, sqlite(tmp_path))


@pytest.mark.skipif(PROGRAMS is None, reason="NO POSTGRESQL SERVER ON THIS MACHINE: searches over hosts are NOT tested")
def test_a_killed_worker_costs_no_trial_postgresql(tmp_path: Path):
    assert PROGRAMS is not None
    (tmp_path / "server").mkdir()
    with server(PROGRAMS, tmp_path / "server") as url:
        kill_one_of_three(tmp_path, url)


def test_a_killed_worker_costs_no_trial_journal(tmp_path: Path):
    kill_one_of_three(tmp_path, f"journal:///{tmp_path}/shared/study.log")


def test_a_trial_that_kills_its_worker_twice_is_given_up(tmp_path: Path):
    url = sqlite(tmp_path)
    for _ in range(2):
        worker = start(tmp_path, "search.n_trials=1", JOB_SECONDS="600")
        wait_for(partial(runs_on, url, worker.pid))  # the second waits until the first is found to be dead
        worker.send(signal.SIGKILL)
        worker.end()
    code, said = search(tmp_path, "search.n_trials=1")
    assert code == 0, said
    assert states(url) == {"COMPLETE": 1, "FAIL": 2}
    first, second, *others = trials(url)
    assert first.params == second.params
    assert all(trial.params != first.params for trial in others)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_worker_that_was_silent_too_long_finds_its_trial_taken_and_goes_on(storage: str, tmp_path: Path):
    """A suspended laptop, a stalled disk: nobody died, and still no trial is told twice."""
    url = sqlite(tmp_path) if storage == "sqlite" else f"journal:///{tmp_path}/study.log"
    give = [f"search.storage={url}", "search.n_trials=3"]
    silent = start(tmp_path, *give, JOB_SECONDS="1")
    wait_for(partial(runs_on, url, silent.pid))
    silent.send(signal.SIGSTOP)
    code, said = search(tmp_path, *give)
    assert code == 0, said
    silent.send(signal.SIGCONT)
    code, said = silent.end()
    assert code == 0, said
    assert "another worker took this one for dead" in said
    assert states(url) == {"COMPLETE": 3, "FAIL": 1}


def test_an_interrupted_search_goes_on_where_it_was_and_a_launcher_may_run_it_elsewhere(tmp_path: Path):
    url = sqlite(tmp_path)
    worker = start(tmp_path, "search.n_trials=3", JOB_SECONDS="1")
    wait_for(lambda: [t.number for t in running(url)] == [1])
    worker.send(signal.SIGINT)
    assert worker.end()[0] != 0
    code, said = search(tmp_path, "search.n_trials=3", "hydra/launcher=elsewhere")
    assert code == 0, said
    found = trials(url)
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert found[2].params == found[1].params
    assert found[1].user_attrs["outcome"] == "interrupted"
    assert found[2].user_attrs["outcome"] == "complete"
    assert "hydra/launcher=elsewhere" in (tmp_path / "logs" / "search" / "s" / "search.yaml").read_text()


def test_optuna_and_its_command_line_read_the_study(tmp_path: Path):
    code, said = search(tmp_path, "search.n_trials=2")
    assert code == 0, said
    optuna = Path(sys.executable).with_name("optuna")
    listed = subprocess.run(
        [optuna, "trials", "--study-name=s", f"--storage={sqlite(tmp_path)}", "--format=json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.count("COMPLETE") == 2
