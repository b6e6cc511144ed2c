"""From the shipped configs to windows, a network of their sizes, and a first fit."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.configuration import CONFIGS
from dark_halo_scope.tasks.build import build_task
from dark_halo_scope.windows.datamodule import WindowDataModule
from dark_halo_scope.windows.study import axis_triples, index_windows
from tests.tasks.tiny import tiny_trainer
from tests.windows.datasets import write_study

GROUPS = ["participants=tiny", "data=windows", "model=small_cnn1d", "transforms=windows", "task=window_classification"]
GROUPS += ["optimizer=adamw", "scheduler=warmup_cosine", "recipe=windows"]


def composed(folder: Path, *overrides: str) -> DictConfig:
    rest = ["+seed=3", "+hardware={compile: false}", f"+paths={{data_dir: {folder}/data, run_dir: {folder}/run}}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(overrides=[*(f"+{group}" for group in GROUPS), *rest, *overrides])


def test_without_a_root_the_simulated_study_is_made_once_and_fits_the_network(tmp_path):
    cfg = composed(tmp_path)
    index = index_windows(cfg)
    assert Path(cfg.data.root).parent == tmp_path / "data"
    assert (cfg.model.n_channels, cfg.model.n_classes) == (6, 6)
    assert OmegaConf.to_container(cfg.transforms.augment.triples) == [[0, 1, 2], [3, 4, 5]]
    again = composed(tmp_path)
    assert index_windows(again).fingerprint == index.fingerprint
    assert len(list((tmp_path / "data").glob("study-*"))) == 1
    theirs = index.participant < 3
    parts = index.with_parts({"train": (theirs & (index.time < 1e5)).nonzero()[0]})
    datamodule: WindowDataModule = instantiate(cfg.data, _partial_=True)(index=parts, batch_size=32)
    tiny_trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(
        build_task(OmegaConf.to_container(cfg, resolve=True)), datamodule=datamodule
    )


def test_a_root_and_what_the_config_says_itself_stay(tmp_path):
    root = write_study(tmp_path / "study")
    cfg = composed(tmp_path, f"data.root={root}", "transforms.augment.triples=[]", "model.n_classes=9")
    assert index_windows(cfg).participants == ("p0", "p1", "p2")
    assert (cfg.model.n_channels, cfg.model.n_classes, cfg.transforms.augment.triples) == (2, 9, [])
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("channels", "triples"),
    [
        (("acc_x", "acc_y", "acc_z"), [[0, 1, 2]]),
        (("AccZ", "hr", "AccX", "AccY", "gyro_x", "gyro_y"), [[2, 3, 0]]),
        (("x", "y", "z", "max"), [[0, 1, 2]]),
        (("ecg", "emg"), []),
    ],
)
def test_axes_are_known_by_their_names(channels, triples):
    assert axis_triples(channels) == triples
