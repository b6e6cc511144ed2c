import json
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from dark_halo_scope.callbacks.calibration import Calibration
from dark_halo_scope.callbacks.wandb_evidence import WandbEvidence
from dark_halo_scope.loggers.wandb import finish_wandb, wandb_logger
from dark_halo_scope.stamps.codec import encode_stamp
from tests.callbacks.tiny_run import CONFIG, TinyRun
from tests.stamps.datasets import stamp_image, write_dataset

MISLABELLED = (72, 73, 75, 77)  # test stamps; odd ones are called lenses
LEET = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A whole run with W&B offline: fit, validate and test the best. Four test stamps carry the wrong label."""

    def change(number, row):
        if number in MISLABELLED:
            row["stamp_npz"] = encode_stamp(stamp_image(number, is_lens=row["lens_model"] == "CONTROL"))

    dataset = write_dataset(tmp_path_factory.mktemp("mislabelled"), change=change)
    run = TinyRun(dataset, tmp_path_factory.mktemp("logged"))
    search = {"search": {"storage": "postgresql://optuna:s3cret@db.example.org/lenses"}}
    OmegaConf.save(OmegaConf.create(CONFIG | search), run.config_file)
    logger = wandb_logger(str(run.folder), "test-project", best={"val/auroc": "max", "val/loss": "min"})
    evidence = [Calibration(), WandbEvidence(str(run.config_file), n_worst=5)]
    run.fit([*evidence, *run.standard_callbacks()], logger=logger, max_epochs=2)
    for evaluate in (run.trainer.validate, run.trainer.test):
        evaluate(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    finish_wandb()
    return run


@pytest.fixture(scope="module")
def summary(logged):
    done = subprocess.run([*LEET, "--summary", offline_run(logged)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def offline_run(run):
    (folder,) = (run.folder / "wandb").glob("offline-run-*")
    return str(folder)


def tables_of(run):
    return Path(offline_run(run)) / "files" / "media" / "table" / "evidence" / "test"


def test_the_run_is_finished_and_has_the_id_saved_in_the_run_folder(logged, summary):
    assert summary["state"] == "finished"
    assert summary["run_id"] == (logged.folder / "wandb_run_id").read_text()
    assert summary["project"] == "test-project"


def test_config_versions_and_data_fingerprint_are_in_its_config(logged, summary):
    config = summary["config"]
    assert config["model"] == CONFIG["model"]
    assert config["data_fingerprint"] == logged.data.fingerprint
    assert {"commit", "dirty", "package"} <= config["code"].keys()
    assert "torch" in config["versions"]


def test_best_and_last_values_are_in_its_summary(logged, summary):
    values = [value for _, _, value in logged.history()["val/auroc"]]
    assert summary["summary"]["val/auroc"]["max"] == pytest.approx(max(values))
    assert summary["summary"]["val/loss"]["min"] <= summary["summary"]["val/loss"]["last"]
    assert summary["summary"]["test/auroc"] == pytest.approx(float(logged.trainer.callback_metrics["test/auroc"]))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_curves_and_tables_are_there(summary, stage):
    logged = summary["summary"]
    for name in ("roc_near_zero", "reliability", "logits"):
        assert logged[f"evidence/{stage}/{name}_table"]["_type"] == "table-file"
    for name in ("false_positives", "false_negatives"):
        assert logged[f"evidence/{stage}/worst_{name}"]["_type"] == "table-file"


def test_the_logits_of_each_class_add_up_to_the_class(logged):
    (path,) = (Path(offline_run(logged)) / "files" / "media" / "table" / "evidence" / "test").glob(
        "logits_table_*.json"
    )
    rows = json.loads(path.read_text())["data"]
    for name in ("controls", "lenses"):
        assert sum(share for _, key, share in rows if key == name) == pytest.approx(1.0)


def test_a_database_password_in_the_config_does_not_leave_the_machine(logged, summary):
    assert "s3cret" in logged.config_file.read_text()
    assert summary["config"]["search"]["storage"] == "postgresql://optuna:***@db.example.org/lenses"
    assert "s3cret" not in json.dumps(summary["config"])


def test_every_mistake_is_in_its_table_the_worst_first_and_its_image_in_the_run_folder(logged):
    for name, rows in (("false_positives", {72}), ("false_negatives", {73, 75, 77})):
        (path,) = tables_of(logged).glob(f"worst_{name}_*.json")
        table = json.loads(path.read_text())
        assert table["columns"][:6] == ["image", "row", "logit", "probability", "stamp_id", "region_id"]
        assert {line[1] for line in table["data"]} == rows
        sizes = [abs(line[2]) for line in table["data"]]
        assert sizes == sorted(sizes, reverse=True)
    waiting = (logged.folder / "wandb" / "artifacts" / "staging").iterdir()
    images = [path for path in waiting if path.read_bytes().startswith(b"\x89PNG")]
    assert len(images) >= len(MISLABELLED)


def test_without_wandb_it_does_nothing(run):
    run.fit([WandbEvidence(str(run.config_file)), *run.standard_callbacks()], max_epochs=1)
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    assert wandb.run is None
