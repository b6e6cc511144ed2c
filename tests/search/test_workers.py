"""Several workers on one study, as real processes: the total, and what survives a kill."""

import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.search.postgres import find_server, server
from tests.search.searches import running, search, sqlite, start, states, trials, wait_for

PROGRAMS = find_server()


def kill_one_of_three(folder: Path, url: str) -> None:
    """Twelve trials by three workers, of whom one dies in mid-trial."""
    give = [f"search.storage={url}", "search.n_trials=12"]
    workers = [start(folder, *give, JOB_SECONDS="0.4") for _ in range(3)]
    pids = {worker.pid: worker for worker in workers}
    wait_for(lambda: len(running(url)) == 3 and len(trials(url)) > 3)
    (victim, *_) = running(url)
    dead = pids.pop(int(victim.user_attrs["worker"].split(":")[1]))
    dead.send_signal(signal.SIGKILL)
    assert dead.wait() == -signal.SIGKILL
    for worker in pids.values():
        said, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
        assert "recommended (trial" in said
    found = trials(url)
    assert Counter(trial.state for trial in found) == {TrialState.COMPLETE: 12, TrialState.FAIL: 1}
    (attempt,) = [trial for trial in found if trial.state == TrialState.FAIL]
    (again,) = [trial for trial in found if trial.system_attrs.get("retry_history") == [attempt.number]]
    assert attempt.number == victim.number
    assert again.params == victim.params
    assert len({trial.params["optimizer.lr"] for trial in found}) == 12  # no two workers drew the same

    code, said = search(folder, *give)
    assert code == 0, said
    assert "recommended (trial" in said
    assert "Launching" not in said
    assert len(trials(url)) == 13


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


def runs_on(url: str, pid: int) -> bool:
    return [trial.user_attrs["worker"].split(":")[1] for trial in running(url)] == [str(pid)]


def test_a_trial_that_kills_its_worker_twice_is_given_up(tmp_path: Path):
    url = sqlite(tmp_path)
    for _ in range(2):
        worker = start(tmp_path, "search.n_trials=1", JOB_SECONDS="60")
        wait_for(partial(runs_on, url, worker.pid))  # the second waits until the first is found to be dead
        worker.kill()
        worker.communicate()
    code, said = search(tmp_path, "search.n_trials=1")
    assert code == 0, said
    assert states(url) == {"COMPLETE": 1, "FAIL": 2}
    first, second, *others = trials(url)
    assert first.params == second.params
    assert all(trial.params != first.params for trial in others)


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path):
    url = sqlite(tmp_path)
    worker = start(tmp_path, "search.n_trials=3", JOB_SECONDS="1")
    wait_for(lambda: [t.number for t in running(url)] == [1])
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)
    assert worker.returncode != 0
    code, said = search(tmp_path, "search.n_trials=3")
    assert code == 0, said
    found = trials(url)
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert found[2].params == found[1].params
    assert found[1].user_attrs["outcome"] == "interrupted"


def test_optuna_and_its_command_line_read_the_study(tmp_path: Path):
    code, said = search(tmp_path, "search.n_trials=2")
    assert code == 0, said
    listed = subprocess.run(
        [
            Path(sys.executable).with_name("optuna"),
            "trials",
            "--study-name=s",
            f"--storage={sqlite(tmp_path)}",
            "--format=json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.count("COMPLETE") == 2
