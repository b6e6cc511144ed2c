"""`python sweep.py`, as a user runs it, with real trainings."""

import contextlib
import csv
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sweep as entry

from dark_halo_scope.configuration import REPOSITORY, plain_errors
from dark_halo_scope.run import run
from dark_halo_scope.search.command import kept_overrides
from tests.runs import TINY, composed
from tests.search.searches import trials

RUN = ["experiment=lens_small_cnn", "trainer.max_epochs=3", "logger=none", "search.name=tiny", "search_space=none"]
SPACE = ["optimizer.lr=tag(log, interval(1e-5, 1e-2))", "data.batch_size=8,16,32", "model.dropout=interval(0, 0.5)"]
SEARCH = ["search.n_trials=7", "search.pruner.n_startup_trials=2", "search.repeat.best=1", "search.repeat.seeds=1"]


def sweep(*arguments: str) -> tuple[int, str]:
    """Run the command in this process: its exit code, and what it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["sweep.py", *arguments])
        try:
            with plain_errors():
                code = entry.main()
        except SystemExit as stop:
            code = stop.code
    return code, said.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def finished(folder: Path) -> str:
    """What a search of seven trials says."""
    paths = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs"]
    code, said = sweep(*TINY, *paths, *RUN, *SPACE, *SEARCH)
    assert code == 0, said
    return said


@pytest.fixture(scope="module")
def kept(finished: str, folder: Path) -> Path:
    return folder / "logs" / "search" / "tiny"


def test_a_search_trains_its_total_and_prunes(finished: str, kept: Path):
    found = trials(f"sqlite:///{kept}/study.db", "tiny")
    states = [trial.state.name for trial in found]
    assert len(found) == 7
    assert states.count("PRUNED") >= 1
    assert states.count("COMPLETE") + states.count("PRUNED") == 7
    for trial in found:
        run = kept / f"trial-{trial.number}"
        validations = len(trial.intermediate_values)
        assert trial.user_attrs["epoch"] == validations
        assert (run / "report.html").exists() == (trial.state.name == "COMPLETE")
        assert (run / "checkpoints" / "last.ckpt").exists()  # of a pruned one too: it ended in good order
        assert (validations == 3) == (trial.state.name == "COMPLETE")


def test_each_news_is_told_once_where_there_is_no_terminal(finished: str):
    assert len(re.findall(r"^tiny trial \d+ (?:complete|pruned)", finished, re.MULTILINE)) == 7
    assert len(re.findall(r"^tiny-repeats trial 0 complete", finished, re.MULTILINE)) == 1
    assert re.search(r"^7 of 7 trials, \d+ pruned", finished, re.MULTILINE)


def test_the_recommended_command_trains(finished: str, tmp_path: Path):
    (command,) = re.findall(r"recommended \(trial \d+: .*\):\n  python train.py (.*)", finished)
    words = shlex.split(command)
    assert not any(word.startswith(("search", "hparams_search", "hydra")) for word in words)
    (tmp_path / "run").mkdir()
    run(composed(*words, "debug=one_batch", f"paths.run_dir={tmp_path}/run"))
    assert (tmp_path / "run" / "report.html").exists()


def test_the_page_stands_alone_and_shows_what_was_tried(kept: Path):
    page = (kept / "search.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    for name in ("history", "intermediate", "importance", "slice0", "slice2", "parallel"):
        assert f'id="{name}-' in page, name
    assert page.count('<td class="w">pruned</td>') >= 1


def test_status_export_and_resume_of_a_finished_search(kept: Path, tmp_path: Path):
    code, said = sweep("--status", str(kept))
    assert code == 0, said
    assert re.search(r"^tiny +\S+ +7 of 7", said, re.MULTILINE)
    assert re.search(r"^tiny-repeats +\S+ +1 of 1", said, re.MULTILINE)
    code, said = sweep("--export", str(kept), str(tmp_path / "trials.csv"))
    assert code == 0, said
    lines = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [line["study"] for line in lines] == ["tiny"] * 7 + ["tiny-repeats"]
    assert {line["state"] for line in lines} == {"complete", "pruned"}
    code, said = sweep("--resume", str(kept))
    assert code == 0, said
    assert "recommended (trial" in said
    assert len(trials(f"sqlite:///{kept}/study.db", "tiny")) == 7


def test_a_search_that_stops_tells_why_and_how_to_go_on(tmp_path: Path):
    give = ["search_space=none", "optimizer.lr=1e-4,1e-3", "search.name=stops", "search.max_failures=0"]
    code, said = sweep(*give, f"paths.log_dir={tmp_path}", "search.process=mine", "--workers", "1")
    assert code == 1
    assert "worker 0 ended with exit code 2" in said
    assert "1 trials failed, and search.max_failures=0; the last, trial 0, with: SearchError: search.process" in said
    folder = tmp_path / "search" / "stops"
    assert f"to go on: python sweep.py --resume {folder}" in said
    kept = kept_overrides(folder, ["search.process=same", "seed=3"])
    assert kept == ["hparams_search=optuna", *give, f"paths.log_dir={tmp_path}", "search.process=same", "seed=3"]


def test_the_entry_script_refuses_in_a_sentence():
    command = [sys.executable, str(REPOSITORY / "sweep.py"), "--status", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "refused: nowhere is not the folder of a search" in done.stderr


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("search.n_trial=3", "there is no key search.n_trial"),
        ("search.storage=mysql://x/y", "write sqlite:////FILE, postgresql://USER@HOST/DATABASE or journal:////FILE"),
        ("--worker", "--worker is neither an option nor key=value"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(argument: str, sentence: str, tmp_path: Path):
    code, said = sweep(argument, f"paths.log_dir={tmp_path}")
    assert code != 0
    assert sentence in said
    assert "Traceback" not in said
