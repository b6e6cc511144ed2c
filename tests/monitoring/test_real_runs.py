"""Runs that are made to go wrong, and what the monitor says of them."""

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from argparse import ArgumentParser

import optuna
import pytest
from lightning.pytorch import Callback

from dark_halo_scope.callbacks.heartbeat import Heartbeat
from dark_halo_scope.commands import monitor
from dark_halo_scope.configuration import ConfigError
from dark_halo_scope.monitoring.rules import examine
from dark_halo_scope.monitoring.run_state import MIN_QUIET_S, MonitorError, read_run
from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.storage import open_storage
from dark_halo_scope.stamps.codec import encode_stamp
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.tasks.base import DivergedError
from tests.callbacks import tiny_run
from tests.callbacks.tiny_run import CONFIG, TinyRun
from tests.stamps.datasets import stamp_image, write_dataset

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def run(dataset, tmp_path) -> TinyRun:
    return TinyRun(dataset, tmp_path / "run")


def heartbeat(run):
    return Heartbeat(str(run.folder), "val/auroc", "max", every_s=0.2)


def findings(run):
    return {finding.rule: finding for finding in examine(read_run(run.folder, time.time())).findings}


def halo_monitor(*words):
    """The exit code of the command."""
    parser = ArgumentParser()
    monitor.add(parser.add_subparsers())
    arguments, overrides = parser.parse_known_args(["monitor", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        arguments.run(arguments, overrides)
    return end.value.code


class Unhurried(Callback):
    """A step that takes its time, so that the loader keeps up."""

    def on_train_batch_end(self, *_):
        time.sleep(0.03)


def train_for_long(dataset, folder):
    run = TinyRun(dataset, folder)
    run.fit([Unhurried(), heartbeat(run), *run.standard_callbacks(patience=1000)], max_epochs=1000)


def test_a_process_that_runs_is_stopped_and_is_killed(dataset, tmp_path, capsys):
    folder = tmp_path / "run"
    process = FORK.Process(target=train_for_long, args=(dataset, folder))
    process.start()
    wait_for(lambda: (folder / "history.json").exists() and read_run(folder, time.time()).status.step_s is not None)
    assert halo_monitor(folder, "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["runs"]
    assert (record["state"], record["pid"], record["findings"]) == ("running", process.pid, [])
    assert record["time_left_s"] > 10
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    assert halo_monitor(folder) == 3
    assert f"kill -CONT {process.pid}" in capsys.readouterr().out
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert halo_monitor(folder.parent) == 3
    assert "dead" in capsys.readouterr().out


class HangingData(StampDataModule):
    """Gives a few batches and then no more, as a network drive does that has gone away."""

    def train_dataloader(self):
        batches = super().train_dataloader()

        class Hanging:
            def __len__(self):
                return len(batches)

            def __iter__(self):
                for k, batch in enumerate(batches):
                    if k == 3:
                        time.sleep(1000)
                    yield batch

        return Hanging()


def train_on_hanging_data(dataset, folder):
    tiny_run.StampDataModule = HangingData
    run = TinyRun(dataset, folder)
    run.fit([heartbeat(run)], max_epochs=1)


def test_a_process_whose_data_hang_is_stalled_though_its_heart_beats(dataset, tmp_path, capsys):
    folder = tmp_path / "run"
    process = FORK.Process(target=train_on_hanging_data, args=(dataset, folder))
    process.start()
    wait_for(lambda: (folder / "status.json").exists() and read_run(folder, time.time()).status.step == 3)
    moved_at = read_run(folder, time.time()).status.moved_at
    later = read_run(folder, moved_at + MIN_QUIET_S + 1)
    assert (later.life, later.state) == ("running", "stalled")
    (finding,) = examine(later).findings
    assert f"py-spy dump --pid {process.pid}" in finding.advice
    beats = later.status.beat_at
    wait_for(lambda: read_run(folder, time.time()).status.beat_at > beats)
    assert read_run(folder, time.time()).status.moved_at == moved_at
    process.kill()
    process.join()


def wait_for(condition, timeout_s=30):
    deadline = time.time() + timeout_s
    while not condition():
        assert time.time() < deadline
        time.sleep(0.1)


def test_a_rate_that_is_far_too_high_ends_in_nan(run, monkeypatch):
    monkeypatch.setitem(CONFIG["optimizer"], "lr", 1e30)
    with pytest.raises(DivergedError):
        run.fit([heartbeat(run), *run.standard_callbacks()])
    assert list(findings(run)) == ["nan"]
    assert halo_monitor(run.folder) == 3


def test_stamps_that_do_not_show_their_label_are_learnt_by_heart(tmp_path, monkeypatch):
    def hide_arc(number, row):
        row["stamp_npz"] = encode_stamp(stamp_image(number, is_lens=False))

    monkeypatch.setitem(CONFIG["model"], "dropout", 0.0)
    monkeypatch.setitem(CONFIG["transforms"]["augment"], "d4", False)
    run = TinyRun(write_dataset(tmp_path / "dataset", n_train=24, change=hide_arc), tmp_path / "run")
    run.fit([heartbeat(run), *run.standard_callbacks()], max_epochs=16)
    assert "overfitting" in findings(run)
    assert halo_monitor(run.folder) == 1


def test_a_run_that_has_learnt_all_there_is_to_learn_is_a_plateau(run):
    run.fit([heartbeat(run), *run.standard_callbacks()], max_epochs=10)
    assert run.history()["val/auroc"][-1][2] == 1.0
    assert list(findings(run)) == ["plateau"]
    assert "in 100 more it gains 0 at most" in findings(run)["plateau"].said
    assert halo_monitor(run.folder) == 1


class SlowData(StampDataModule):
    def train_dataloader(self):
        batches = super().train_dataloader()

        class Slow:
            def __len__(self):
                return len(batches)

            def __iter__(self):
                for batch in batches:
                    time.sleep(0.04)
                    yield batch

        return Slow()


def test_a_slow_loader_is_told(run, monkeypatch):
    monkeypatch.setattr(tiny_run, "StampDataModule", SlowData)
    run.fit([heartbeat(run)], max_epochs=11)
    assert list(findings(run)) == ["loader-bound"]


def test_what_a_run_says_of_itself_is_what_the_trainer_knows(run):
    callback = heartbeat(run)
    run.fit([callback, *run.standard_callbacks(patience=7)], max_epochs=3, accumulate_grad_batches=2)
    status = read_run(run.folder, time.time()).status
    assert (status.step, status.total_steps, status.steps_per_validation) == (18, 18, 6)
    assert [step for step, _ in status.losses][-1] == 18
    assert len(status.losses) == 36
    assert all(loss is not None and math.isfinite(loss) for _, loss in status.losses)
    assert status.patience.of == 7
    assert status.phase == "between"
    run.trainer.test(run.task, datamodule=run.data, verbose=False)
    (run.folder / "metrics.json").write_text("{}")
    assert read_run(run.folder, time.time()).state == "finished"


def test_a_run_is_awaited_before_it_begins_to_train(run, tmp_path, monkeypatch, capsys):
    """The folder is made at once, the status only when the data are there."""
    run.fit([heartbeat(run)], max_epochs=1)
    run.trainer.test(run.task, datamodule=run.data, verbose=False)
    (run.folder / "metrics.json").write_text("{}")
    awaited = tmp_path / "logs"
    awaited.mkdir()
    monkeypatch.setattr(monitor, "LOOK_EVERY_S", 0.1)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal: every state of the screen is kept
    with pytest.raises(MonitorError, match="none that has begun to train"):
        halo_monitor(awaited)
    begins = threading.Timer(2.0, run.folder.rename, [awaited / "run"])
    begins.start()
    assert halo_monitor(awaited, "--watch") == 0
    begins.join()
    shown = capsys.readouterr().out
    assert 0 < shown.index("waiting for a run to begin") < shown.index("finished")


@pytest.mark.parametrize("url", ["sqlite:///{folder}/study.db", "journal:///{folder}/study.log"])
def test_a_study_is_shown_with_the_runs_beside_it(tmp_path, capsys, url):
    url = url.format(folder=tmp_path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="lens", storage=open_storage(url, 60, 180), direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("optimizer.lr", 1e-5, 1e-3), n_trials=2)
    study.ask()
    if url.startswith("sqlite"):
        assert halo_monitor(tmp_path) == 0  # the folder of a search
        assert "2 complete, 1 running" in capsys.readouterr().out
    assert halo_monitor(url) == 0
    shown = capsys.readouterr().out
    assert "2 complete, 1 running" in shown
    assert f"optimizer.lr={study.best_params['optimizer.lr']}" in shown.replace("\n", "")
    assert halo_monitor(url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["studies"][0]["best"][0]["number"] == study.best_trial.number


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["nowhere"], MonitorError, "there is no such folder"),
        (["{folder}"], MonitorError, "it holds no run"),
        (["{folder}", "seed=3"], ConfigError, "takes options only"),
        (["sqlite:///{folder}/typo.db"], MonitorError, "there is no such file"),
        (["journal:////proc/none/study.log"], MonitorError, "there is no such file"),
        (["postgresql://me:s3cret@127.0.0.1:1/lenses"], SearchError, r"me:\*\*\*@127.0.0.1:1/lenses cannot be reached"),
        (["mysql://me@127.0.0.1/lenses"], SearchError, "write sqlite:////FILE, postgresql://"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(tmp_path, words, error, said):
    parser = ArgumentParser()
    monitor.add(parser.add_subparsers())
    arguments, overrides = parser.parse_known_args(["monitor", *(word.format(folder=tmp_path) for word in words)])
    with pytest.raises(error, match=said):
        arguments.run(arguments, [word for word in overrides or words if "=" in word])
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind
