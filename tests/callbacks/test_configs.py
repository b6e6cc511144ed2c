from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from dark_halo_scope.loggers.wandb import finish_wandb
from tests.callbacks.tiny_run import CONFIG, load

CONFIGS = Path(__file__).parents[2] / "configs"


def composed(group, option, run_dir):
    with initialize_config_dir(str(CONFIGS / group), version_base="1.3"):
        chosen = compose(option)
    around = {
        "monitor": {"metric": "val/auroc", "mode": "max"},
        "paths": {"run_dir": str(run_dir)},
        "experiment_name": "test",
    }
    cfg = OmegaConf.create(around | {group: chosen})
    return {name: instantiate(one) for name, one in cfg[group].items() if one}


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONFIGS / "callbacks").glob("*.yaml")))
def test_every_callback_config_can_be_built(option, tmp_path):
    assert all(isinstance(one, Callback) for one in composed("callbacks", option, tmp_path).values())


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONFIGS / "logger").glob("*.yaml")))
def test_every_logger_config_can_be_built(option, tmp_path):
    loggers = composed("logger", option, tmp_path).values()
    finish_wandb()
    assert all(isinstance(one, Logger) for one in loggers)


def test_history_stands_after_all_that_log_at_the_end_of_an_epoch(tmp_path):
    order = list(composed("callbacks", "default", tmp_path))
    assert max(order.index(name) for name in ("lr_monitor", "throughput", "quarantine")) < order.index("history")
    assert order.index("calibration") < order.index("wandb_evidence")


@pytest.mark.parametrize("option", ["default", "default_ema"])
def test_the_default_callbacks_work_together_with_the_default_loggers(option, run):
    callbacks = composed("callbacks", option, run.folder)
    loggers = composed("logger", "wandb_csv", run.folder)
    run.fit(list(callbacks.values()), logger=list(loggers.values()), enable_progress_bar=True, max_epochs=2)
    best = callbacks["checkpoint"].best_model_path
    run.trainer.validate(run.task, datamodule=run.data, ckpt_path=best, verbose=False)
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=best, verbose=False)
    finish_wandb()
    made = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    expected = {"config.yaml", "history.csv", "history.json", "wandb_run_id", "quarantine/summary.json"}
    assert expected | {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "csv/version_0/metrics.csv"} <= made
    names = set(run.history())
    assert {"lr", "throughput/stamps_per_s", "data/quarantined", "train/loss", "val/auroc"} <= names
    assert load(run.best)["calibrator"]["method"] == "temperature"
    assert load(run.best)["config"] == CONFIG


def test_the_default_callbacks_need_no_logger(run):
    callbacks = composed("callbacks", "default", run.folder)
    run.fit(list(callbacks.values()), logger=False, enable_progress_bar=True, max_epochs=1)
    assert run.best.exists()
