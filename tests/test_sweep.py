"""`python sweep.py` and `python train.py -m hparams_search=optuna`, as a user runs them, with real trainings."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dark_halo_scope.configuration import REPOSITORY
from tests.runs import TINY, train
from tests.search.searches import trials

RUN = ["experiment=lens_small_cnn", "trainer.max_epochs=3", "logger=none", "search.name=tiny", "search_space=none"]
SPACE = ["optimizer.lr=tag(log, interval(1e-5, 1e-2))", "data.batch_size=8,16,32", "model.dropout=interval(0, 0.5)"]
SEARCH = ["search.n_trials=12", "search.pruner.n_startup_trials=3", "search.repeat.best=1", "search.repeat.seeds=1"]


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "sweep.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def finished(folder: Path) -> str:
    """What a search of twelve trials says."""
    paths = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs"]
    done = sweep(folder, *TINY, *paths, *RUN, *SPACE, *SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kept(finished: str, folder: Path) -> Path:
    return folder / "logs" / "search" / "tiny"


def test_a_search_trains_its_total_and_prunes(finished: str, kept: Path):
    found = trials(f"sqlite:///{kept}/study.db", "tiny")
    states = [trial.state.name for trial in found]
    assert len(found) == 12
    assert states.count("PRUNED") >= 1
    assert states.count("COMPLETE") + states.count("PRUNED") == 12
    for trial in found:
        run = kept / f"trial-{trial.number}"
        validations = len(trial.intermediate_values)
        assert trial.user_attrs["epoch"] == validations
        assert (run / "report.html").exists() == (trial.state.name == "COMPLETE")
        assert (run / "checkpoints" / "last.ckpt").exists()  # of a pruned one too: it ended in good order
        assert (validations == 3) == (trial.state.name == "COMPLETE")


def test_each_news_is_told_once_where_there_is_no_terminal(finished: str):
    assert len(re.findall(r"^tiny trial \d+ (?:complete|pruned)", finished, re.MULTILINE)) == 12
    assert len(re.findall(r"^tiny-repeats trial 0 complete", finished, re.MULTILINE)) == 1
    assert re.search(r"^12 of 12 trials, \d+ pruned", finished, re.MULTILINE)


def test_the_recommended_command_trains(finished: str, kept: Path, folder: Path):
    (command,) = re.findall(r"recommended \(trial \d+: .*\):\n  python train.py (.*)", finished)
    words = shlex.split(command)
    assert not any(word.startswith(("search", "hparams_search", "hydra")) for word in words)
    done = train(folder, *words, "debug=one_batch")
    assert done.returncode == 0, done.stderr


def test_the_page_stands_alone_and_shows_what_was_tried(kept: Path):
    page = (kept / "search.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    for name in ("history", "intermediate", "importance", "slice0", "slice2", "parallel"):
        assert f'id="{name}-' in page, name
    assert page.count('<td class="w">pruned</td>') >= 1


def test_status_export_and_resume_of_a_finished_search(kept: Path, tmp_path: Path):
    status = sweep(tmp_path, "--status", str(kept))
    assert status.returncode == 0, status.stderr
    assert "12 of 12 trials" in status.stdout
    exported = sweep(tmp_path, "--export", str(kept), "trials.csv")
    assert exported.returncode == 0, exported.stderr
    lines = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [line["study"] for line in lines] == ["tiny"] * 12 + ["tiny-repeats"]
    assert {line["state"] for line in lines} == {"complete", "pruned"}
    resumed = sweep(tmp_path, "--resume", str(kept))
    assert resumed.returncode == 0, resumed.stderr
    assert "recommended (trial" in resumed.stdout
    assert len(trials(f"sqlite:///{kept}/study.db", "tiny")) == 12


def test_trials_in_processes_of_their_own_and_how_they_end(folder: Path):
    """One that trains, and one whose loss is not a number after a step: told apart, and the search goes on."""
    give = ["search.name=own", "search.process=own", "search.repeat.best=0", "hparams_search/sampler=grid"]
    search = ["hparams_search=optuna", "search_space=none", "optimizer.lr=1e-4,1e30", "trainer.max_epochs=1", *give]
    done = train(folder, "experiment=lens_small_cnn", "logger=none", *search, "trainer.gradient_clip_val=null", "-m")
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(f"sqlite:///{folder}/logs/search/own/study.db", "own")
    assert [trial.user_attrs["outcome"] for trial in found] == ["complete", "diverged"]
    assert "the training loss became NaN" in found[1].user_attrs["error"]
    log = (folder / "logs" / "search" / "own" / "trial-0" / "run.log").read_text()
    assert re.match(r"\d\d:\d\d:\d\d INFO", log)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--status", "nowhere"], "nowhere is not the folder of a search"),
        (["search.n_trial=3"], "there is no key search.n_trial"),
        (["search.storage=mysql://x/y"], "write sqlite:////FILE, postgresql://USER@HOST/DATABASE or journal:////FILE"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(arguments: list[str], sentence: str, tmp_path: Path):
    done = sweep(tmp_path, *arguments, *([f"paths.log_dir={tmp_path}"] if "=" in arguments[0] else []))
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
