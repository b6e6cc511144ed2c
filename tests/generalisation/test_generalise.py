"""`halo generalise` as a user runs it: real runs, interrupted, killed, gone on with."""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dark_halo_scope.commands import generalise
from dark_halo_scope.configuration import ConfigError, in_use
from dark_halo_scope.files import sha256
from dark_halo_scope.generalisation.arms import YARDSTICK, Arm, ArmError
from dark_halo_scope.generalisation.matrix import MatrixError
from dark_halo_scope.generalisation.page import write_page
from dark_halo_scope.generalisation.runs import MatrixRun
from dark_halo_scope.generalisation.training import train_missing
from tests.runs import TINY
from tests.stamps.datasets import write_dataset

MAIN = """
import argparse, sys
from dark_halo_scope.commands import generalise
parser = argparse.ArgumentParser()
generalise.add(parser.add_subparsers())
arguments, overrides = parser.parse_known_args()
arguments.run(arguments, overrides)
"""
pytestmark = pytest.mark.slow

SETTINGS = [*TINY, "experiment=lens_small_cnn", "trainer.max_epochs=1", "logger=none"]
ARMS = ["--arms", "sie_to_sis", "--seeds", "1"]


def words(folder: Path, *more: str) -> list[str]:
    return ["generalise", *ARMS, "--out", str(folder / "out"), *SETTINGS, f"paths.data_dir={folder}/data", *more]


def halo(*command: str) -> None:
    """The command in this process."""
    parser = argparse.ArgumentParser()
    generalise.add(parser.add_subparsers())
    arguments, overrides = parser.parse_known_args(command)
    arguments.run(arguments, overrides)


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, *words(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_free(run: Path) -> None:
    deadline = time.monotonic() + 10
    while in_use(run):
        assert time.monotonic() < deadline, "the run outlived the command"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """One arm and the reference, by a command that was interrupted, killed and given again."""
    folder = tmp_path_factory.mktemp("matrix")
    reference, arm = (folder / "out" / "runs" / name / "seed1" for name in ("reference", "sie_to_sis"))
    interrupted = start(folder)
    wait_until((reference / ".hydra").exists, interrupted)
    interrupted.send_signal(signal.SIGINT)
    _, told = interrupted.communicate(timeout=90)
    killed = start(folder)
    wait_until((arm / ".claim").exists, killed)
    killed.kill()
    killed.communicate()
    wait_until_free(arm)
    scores_of_the_reference = (reference / "scores.parquet").stat().st_mtime_ns
    last = start(folder)
    page, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors
    return {
        "folder": folder,
        "interrupted": (interrupted.returncode, told),
        "untouched": (reference / "scores.parquet").stat().st_mtime_ns == scores_of_the_reference,
        "page": Path(page.strip().splitlines()[-1]),
    }


def test_an_interruption_is_passed_on_and_told(matrix):
    code, told = matrix["interrupted"]
    assert code == 130
    assert "the same command goes on where it stopped" in told


def test_a_finished_run_is_not_trained_again(matrix):
    assert matrix["untouched"]


def test_each_run_is_an_ordinary_one_that_left_out_what_it_should(matrix):
    runs = matrix["folder"] / "out" / "runs"
    for name, condition in (("reference", None), ("sie_to_sis", "lens_model == 'SIS'")):
        run = runs / name / "seed1"
        config = OmegaConf.load(run / "config.yaml")
        assert (config.seed, config.data.leave_out) == (1, condition)
        assert (run / "report.html").exists()
        excluded = json.loads((run / "quarantine" / "summary.json").read_text())["excluded"]
        left_out = excluded.get("left_out_on_request", {"train": {"lens": 0}})["train"]["lens"]
        assert (left_out > 0) == (condition is not None)


def test_json_and_page_tell_arms_stamps_and_hashes(matrix):
    out = matrix["folder"] / "out"
    assert matrix["page"] == out / "generalisation.html"
    summary = json.loads((out / "generalisation.json").read_text())
    assert [arm["name"] for arm in summary["arms"]] == ["reference", "sie_to_sis"]
    assert not summary["failed"]
    page = matrix["page"].read_text()
    for run in summary["runs"]:
        assert run["scores_sha256"] == sha256(Path(run["folder"]) / "scores.parquet")
        assert run["scores_sha256"] in page
    degradation = summary["arms"][1]["degradation"]
    assert degradation["probe"]["n_lenses"] > 10
    assert "1000 are needed" in degradation["unsupported"]["tpr_at_fpr_1e-2"]  # the tiny survey has some 48 controls
    auroc = degradation["measures"]["auroc"]
    difference = auroc["left_out"]["mean"] - auroc["reference"]["mean"]
    assert auroc["difference"]["mean"] == pytest.approx(difference)
    assert degradation["no_intervals"] == "3 regions; an interval needs 10"
    assert "lens_model == &#39;SIS&#39;" in page
    assert "which would tell how much, is missing" in page


def test_the_part_of_the_sky_is_the_yardstick_and_no_kind(matrix, tmp_path):
    summary = json.loads((matrix["folder"] / "out" / "generalisation.json").read_text())
    kind = summary["arms"][1]
    summary["arms"].append(kind | {"name": YARDSTICK, "title": "half of the sky"})
    page = write_page(tmp_path, summary).read_text()
    assert page.index("The yardstick, half of the sky:") < page.index("What cannot be said")
    assert page.count(f"<dt>{kind['title']}</dt>") == 1
    assert "<dt>half of the sky</dt>" not in page
    assert "is missing" not in page


def test_the_same_command_on_a_finished_matrix_trains_nothing(matrix, capsys):
    logs = [*matrix["folder"].glob("out/runs/*/*.log")]
    before = {log: log.stat().st_mtime_ns for log in logs}
    halo(*words(matrix["folder"], "hardware.loader_threads=1"))  # what is the machine's may change
    assert capsys.readouterr().out.strip() == str(matrix["page"])
    assert before == {log: log.stat().st_mtime_ns for log in logs}


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        (["optimizer.lr=1e-5"], MatrixError, "holds runs of other settings"),
        (["data.leave_out='ra > 1'"], ConfigError, "halo generalise sets this for each of its runs"),
        (["transforms=online_injection"], ConfigError, "draws them from its own priors"),
        (["seed=4"], ConfigError, "see --arms, --seeds and --out"),
        (["--seeds", "1,1"], ConfigError, "a seed is given twice"),
        (["--seeds", "one"], ConfigError, "whole numbers"),
        (["--arms", "moon"], ArmError, "there is no such arm; these data allow reference, theta_e_low"),
    ],
)
def test_what_does_not_fit_is_refused(matrix, more, error, told):
    with pytest.raises(error, match=told):
        halo(*words(matrix["folder"], *more))


def test_other_data_are_refused(matrix, tmp_path):
    with pytest.raises(MatrixError, match="holds runs on other data"):
        halo(*words(matrix["folder"], f"data.root={write_dataset(tmp_path / 'data')}"))


def test_a_run_that_is_not_what_its_folder_says_is_refused(matrix):
    config = matrix["folder"] / "out" / "runs" / "sie_to_sis" / "seed1" / "config.yaml"
    content = config.read_text()
    config.write_text(content.replace("lens_model == 'SIS'", "lens_model == 'SIE'").replace("''SIS''", "''SIE''"))
    assert config.read_text() != content
    try:
        with pytest.raises(MatrixError, match=r"holds another run .*remove it to run it again"):
            halo(*words(matrix["folder"]))
    finally:
        config.write_text(content)


def test_a_failed_run_is_told_with_its_log_and_the_next_goes_on(tmp_path):
    runs = [MatrixRun(Arm(name, name, None), 1, tmp_path) for name in ("one", "two")]
    failures = train_missing(runs, ["model=none_such"], show=False)
    assert [failure.arm for failure in failures] == ["one", "two"]
    for failure in failures:
        assert failure.exit_code == 2
        assert failure.last_line.startswith("refused: there is no model=none_such")
        assert failure.last_line in Path(failure.log).read_text()
