"""From a config to windows: the user's dataset or the simulated study, and what of the config the data decide."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.simulate import StudyConfig, simulate_study

log = logging.getLogger(__name__)


def index_windows(cfg: DictConfig) -> WindowIndex:
    """Index the dataset at ``data.root``, or the simulated study of ``participants`` where it names none.

    Sets ``data.root``, and what the data decide of ``model`` and ``transforms``, in place: see `fill_in`.
    """
    if cfg.data.root is None:
        study: StudyConfig = instantiate(cfg.participants)
        folder = Path(cfg.paths.data_dir) / f"study-{study.digest()}"
        log.info("no data.root given: the simulated study %s", folder)
        cfg.data.root = str(simulate_study(study, folder))
    index = WindowIndex.build(cfg.data.root)
    fill_in(cfg, index)
    return index


def fill_in(cfg: DictConfig, index: WindowIndex) -> None:
    """Set the sizes of the network and the axes that turn together, where the config leaves them open."""
    found: dict[str, Any] = {
        "model.n_channels": len(index.layout.channels),
        "model.n_classes": len(index.classes),
        "transforms.augment.triples": axis_triples(index.layout.channels),
    }
    for key, value in found.items():
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, group)
        if OmegaConf.is_missing(node, name):
            node[name] = value


def axis_triples(channels: tuple[str, ...]) -> list[list[int]]:
    """Numbers of the channels that are named alike but for a last x, y or z, such as acc_x, acc_y, acc_z."""
    number_of = {name.lower(): number for number, name in enumerate(channels)}
    triples = []
    for name in channels:
        prefix = name.lower()[:-1]
        if name.lower().endswith("x") and all(f"{prefix}{axis}" in number_of for axis in "xyz"):
            triples.append([number_of[f"{prefix}{axis}"] for axis in "xyz"])
    return triples
