"""What a W&B run is called and tagged, read from what lies in the run folder when training starts."""

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

LONGEST_TAG = 64  # characters; W&B refuses longer ones
FINGERPRINT_SHOWN = 12


def display_name(run_dir: Path) -> str:
    """The folder below that of its experiment: ``<run>``, ``multirun-<time>/0``, ``<search>/trial-3``.

    It is the same when the run is resumed, and tells the jobs of two multiruns apart.
    """
    log_dir = OmegaConf.select(_config(run_dir), "paths.log_dir")
    if log_dir is None or not run_dir.is_relative_to(log_dir):
        return run_dir.name
    return "/".join(run_dir.relative_to(log_dir).parts[1:]) or run_dir.name


def tags(run_dir: Path) -> list[str]:
    """Experiment, model, transforms, simulated survey, data and search: what runs are picked out by."""
    config, chosen = _config(run_dir), choices(run_dir)
    of_groups = ("model", "transforms", *(["survey"] if _is_simulated(run_dir) else []))
    found = {"experiment": config.get("experiment_name")}
    found |= {group: chosen.get(group) for group in of_groups}
    found |= {"data": _fingerprint(run_dir)[:FINGERPRINT_SHOWN], "search": OmegaConf.select(config, "search.name")}
    return [f"{key}={value}"[:LONGEST_TAG] for key, value in found.items() if value]


def choices(run_dir: Path) -> dict[str, str]:
    """Which option of each config group the run was composed from; empty where Hydra left none."""
    hydra = _yaml(run_dir / ".hydra" / "hydra.yaml")
    chosen = OmegaConf.select(hydra, "hydra.runtime.choices") or {}
    return {
        str(group): str(option)
        for group, option in chosen.items()
        if option is not None and not str(group).startswith("hydra/")
    }


def _is_simulated(run_dir: Path) -> bool:
    """Whether no data were named, so that the embedded survey was simulated."""
    composed = _yaml(run_dir / ".hydra" / "config.yaml")
    return "data" in composed and composed.data.root is None


def _fingerprint(run_dir: Path) -> str:
    path = run_dir / "provenance.json"
    return str(json.loads(path.read_text())["data_fingerprint"]) if path.exists() else ""


def _config(run_dir: Path) -> DictConfig:
    return _yaml(run_dir / "config.yaml")


def _yaml(path: Path) -> DictConfig:
    loaded = OmegaConf.load(path) if path.exists() else OmegaConf.create({})
    assert isinstance(loaded, DictConfig)
    return loaded
