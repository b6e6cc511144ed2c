"""The command `python train.py`, as a user runs it: what it leaves, what it survives, what it refuses."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from dark_halo_scope.configuration import claimed, newest_unfinished
from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.run import data_notes
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.tasks.restore import load_task
from tests.runs import command, train
from tests.stamps.datasets import SCHEMA, spoil, write_dataset

SMALL = ["experiment=lens_small_cnn", "trainer.max_epochs=3", "data.batch_size=16", "model.dropout=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of this file keep data and logs."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run to its end, and its folder."""
    done = train(folder, *SMALL, "run_name=finished", "audit.mode=warn")
    assert done.returncode == 0, done.stderr
    return done, folder / "logs" / "lens_small_cnn" / "finished"


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert state
    return state


def usable(folder: Path, split: str) -> set[str]:
    """Ids of the stamps of a split that the survey calls usable."""
    (survey,) = (folder / "data").glob("survey-*")
    columns = ["stamp_id", "region_split", "cutout_ok"]
    rows = pq.read_table([*survey.glob("*.parquet")], columns=columns).to_pylist()
    return {row["stamp_id"] for row in rows if row["region_split"] == split and row["cutout_ok"] == 1}


def final_metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_a_run_names_its_folder_first_and_last(finished):
    done, run = finished
    lines = [line for line in done.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d INFO", line)]
    assert lines[0].endswith(f"run folder: {run}")
    assert lines[-1].endswith(f"run folder: {run}")


def test_a_run_leaves_everything_a_reader_needs(finished):
    _, run = finished
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml",
        "run.log",
        "provenance.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "history.csv",
        "history.json",
        "metrics.json",
        "scores.parquet",
        "report.html",
        "selection_function.parquet",
        "audit.html",
        "audit.json",
        "trivial_scores.parquet",
        "quarantine/summary.json",
        "wandb_run_id",
    }
    history = json.loads((run / "history.json").read_text())["metrics"]["val/auroc"]
    assert len(history["values"]) == 3
    assert {"mean", "std", "min", "max", "best", "best_epoch"} <= history.keys()
    assert "${" not in (run / "config.yaml").read_text()


def test_what_is_noted_of_the_data_is_in_provenance_and_metrics(finished):
    _, run = finished
    notes = json.loads((run / "provenance.json").read_text())["data_notes"]
    assert notes == final_metrics(run)["data_notes"] == []


def test_the_score_file_holds_each_usable_stamp_once_with_its_metadata(finished, folder: Path):
    _, run = finished
    table, provenance = read_scores(run / "scores.parquet")
    for split in ("val", "test"):
        ids = table.filter(pc.equal(table["split"], split))["stamp_id"].to_pylist()
        assert sorted(ids) == sorted(usable(folder, split))
    assert {"region_id", "theta_e_arcsec", "control_kind", "psfdepth_r"} <= set(table.column_names)
    assert "stamp_npz" not in table.column_names
    assert provenance["data_fingerprint"] == json.loads((run / "provenance.json").read_text())["data_fingerprint"]


def test_the_report_stands_alone(finished):
    _, run = finished
    page = (run / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "<svg" in page or "data:image/png" in page


def test_the_checkpoint_scores_stamps_as_the_run_did(finished, folder: Path):
    _, run = finished
    task = load_task(run / "checkpoints" / "best.ckpt")
    assert task.calibrator == final_metrics(run)["calibration"]["calibrator"]
    table, _ = read_scores(run / "scores.parquet")
    (survey,) = (folder / "data").glob("survey-*")
    datamodule = StampDataModule(str(survey), str(run))
    datamodule.setup()
    with torch.no_grad():
        logits = task(torch.from_numpy(datamodule.read_stamps(table["row"].to_numpy()[:8])))
    torch.testing.assert_close(logits, torch.tensor(table["logit"].to_numpy()[:8]), rtol=1e-4, atol=1e-5)


def test_offline_wandb_run_can_be_read_back(finished):
    _, run = finished
    (wandb_run,) = (run / "wandb").glob("offline-run-*")
    leet = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(wandb_run)]
    told = json.loads(subprocess.run(leet, capture_output=True, text=True, check=True).stdout)
    assert (run / "wandb_run_id").read_text() in wandb_run.name
    assert told["summary"]["test/auroc"] == pytest.approx(final_metrics(run)["test"]["auroc"], abs=1e-6)


def test_killed_in_mid_epoch_and_resumed_equals_uninterrupted(finished, folder: Path):
    """SIGKILL between two checkpoints; same weights bit for bit, same metrics, same W&B run."""
    _, uninterrupted = finished
    name = ["run_name=killed", "callbacks.checkpoint.last_every_n_steps=3"]
    run = folder / "logs" / "lens_small_cnn" / "killed"
    process = subprocess.Popen(command(folder, *SMALL, *name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = run / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if last.exists() and torch.load(last, weights_only=True)["global_step"] in (11, 12):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    step = torch.load(last, weights_only=True)["global_step"]
    assert 0 < step < 24
    wandb_id = (run / "wandb_run_id").read_text()

    done = train(folder, *SMALL, "callbacks.checkpoint.last_every_n_steps=3", "resume=auto")
    assert done.returncode == 0, done.stderr
    assert f"run folder: {run}" in done.stdout  # it found the unfinished run by itself
    assert "resuming" in done.stdout
    for checkpoint in ("last.ckpt", "best.ckpt"):
        resumed, whole = (weights(r / "checkpoints" / checkpoint) for r in (run, uninterrupted))
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(resumed[key], whole[key]) for key in whole), checkpoint
    ours, theirs = final_metrics(run), final_metrics(uninterrupted)
    assert (ours["val"], ours["test"]) == (theirs["val"], theirs["test"])
    for name in ("train/loss", "val/loss"):
        ours, theirs = (json.loads((r / "history.json").read_text())["metrics"][name] for r in (run, uninterrupted))
        assert ours == theirs, name
    origin = json.loads((run / "provenance.json").read_text())
    assert "resume=auto" not in origin["command"]
    assert "resume=auto" in origin["resumed"][0]["command"]
    assert (run / "wandb_run_id").read_text() == wandb_id
    assert all(wandb_id in path.name for path in (run / "wandb").glob("offline-run-*"))


def test_a_finished_run_is_not_overwritten(finished, folder: Path):
    _, run = finished
    before = (run / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    done = train(folder, *SMALL, "run_name=finished")
    assert done.returncode == 2
    assert f"{run} holds a run already: add resume=auto" in done.stderr
    assert (run / "checkpoints" / "best.ckpt").stat().st_mtime_ns == before


def test_a_run_that_is_being_trained_is_left_alone(finished, folder: Path):
    _, run = finished
    busy = folder / "logs" / "lens_small_cnn" / "busy"
    shutil.copytree(run, busy)
    (busy / "report.html").unlink()
    with claimed(busy):
        assert newest_unfinished(busy.parent) != busy
        done = train(folder, *SMALL, f"resume={busy}")
    assert done.returncode == 2
    assert f"another process is at work in {busy}" in done.stderr
    assert newest_unfinished(busy.parent) == busy
    shutil.rmtree(busy)


def test_two_processes_measure_what_one_does(finished, folder: Path):
    """The same best checkpoint, evaluated by two DDP ranks over gloo: same metrics, each stamp once."""
    _, one = finished
    two = folder / "logs" / "lens_small_cnn" / "two_ranks"
    shutil.copytree(one, two)
    (two / "metrics.json").unlink()
    (two / "scores.parquet").unlink()
    done = train(folder, *SMALL, f"resume={two}", "hardware.devices=2")
    assert done.returncode == 0, done.stderr
    assert "hardware: 2 x" in done.stdout
    scores_of_one, scores_of_two = (pq.read_table(run / "scores.parquet") for run in (one, two))
    assert scores_of_two["row"].equals(scores_of_one["row"])
    for split in ("val", "test"):
        assert final_metrics(two)[split] == pytest.approx(final_metrics(one)[split], abs=1e-6)


def test_two_processes_train(folder: Path):
    done = train(folder, *SMALL, "run_name=ddp", "hardware.devices=2", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    run = folder / "logs" / "lens_small_cnn" / "ddp"
    samples = final_metrics(run)["samples"]["test"]
    assert samples["n_lenses"] + samples["n_controls"] == len(usable(folder, "test"))
    assert json.loads((run / "quarantine" / "summary.json").read_text())["quarantined"] == {}


@pytest.mark.slow
def test_torchrun_starts_the_ranks_of_one_named_run(folder: Path):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    hardware = ["hardware=multi_node", "hardware.accelerator=cpu", "hardware.precision=32-true"]
    ranks = [*start, *command(folder, *SMALL, *hardware, "trainer.max_epochs=1")[1:]]
    unnamed = subprocess.run(ranks, capture_output=True, text=True, check=False, timeout=240)
    assert unnamed.returncode != 0
    assert "name the run, run_name=" in unnamed.stderr
    named = subprocess.run([*ranks, "run_name=torchrun"], capture_output=True, text=True, check=False, timeout=240)
    assert named.returncode == 0, named.stderr
    assert named.stdout.count("INFO run folder:") == 2  # first and last, by rank 0 alone
    samples = final_metrics(folder / "logs" / "lens_small_cnn" / "torchrun")["samples"]["test"]
    assert samples["n_lenses"] + samples["n_controls"] == len(usable(folder, "test"))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["trainer.max_epoch=3"], "there is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        (["model=resnet35"], "there is no model=resnet35; did you mean resnet34?"),
        (["experiment=lens_resnet"], "there is no experiment=lens_resnet; did you mean lens_resnet"),
        (["monitor.metric=val/loss"], "monitor.mode=max would keep the worst val/loss: set monitor.mode=min"),
        (["monitor.metric=val/auc"], "monitor.metric=val/auc is not measured in validation; choose one of val/loss"),
        (["hardware.precision=16-mixed"], "fp16 does not train on a CPU"),
        (["data.root=/no/such/folder"], "/no/such/folder"),
        (["resume=/no/such/run"], "resume=/no/such/run: there is no such run folder"),
        (["model.weights=/x.pth"], "there is no key model.weights"),
        (["callbacks.calibration=null"], "callbacks.calibration cannot be turned off"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(overrides: list[str], sentence: str, tmp_path: Path):
    done = train(tmp_path, *overrides)
    assert done.returncode == 2
    refusal = done.stderr.strip().splitlines()[-1]
    assert refusal.startswith("refused: ")
    assert sentence in refusal
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("data/*"))  # nothing was simulated first


def test_hosts_that_go_unchecked_are_noted(tmp_path: Path):
    survey = write_dataset(tmp_path, schema=SCHEMA.remove(SCHEMA.get_field_index("host_id")))
    assert data_notes(StampIndex.build(str(survey))) == [
        "no column host_id in every file, so that hosts in two splits would go unseen"
    ]


def test_data_that_breaks_the_contract_is_refused_before_training(tmp_path: Path):
    survey = tmp_path / "survey"
    write_dataset(survey, change=spoil(3, lens_model="NFW"))
    done = train(tmp_path, f"data.root={survey}", "experiment=lens_small_cnn")
    assert done.returncode == 2
    assert "NFW" in done.stderr.strip().splitlines()[-1]


def test_a_checkpoint_of_another_architecture_is_refused(finished, folder: Path):
    _, run = finished
    copy = folder / "logs" / "lens_small_cnn" / "other_architecture"
    shutil.copytree(run, copy)
    done = train(folder, "experiment=lens_resnet18", f"resume={copy}")
    assert done.returncode == 2
    refusal = done.stderr.strip().splitlines()[-1]
    assert "SmallCNN(" in refusal
    assert "ResNet(depth=18" in refusal
    for name in ("config.yaml", "provenance.json"):  # what is refused leaves no trace
        assert (copy / name).read_bytes() == (run / name).read_bytes()
