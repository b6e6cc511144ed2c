"""The node `search` of a config, checked once, before a study is opened or a trial is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.study import StudyDirection

from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.space import Scalar, Space
from dark_halo_scope.search.storage import check_url

LR, BATCH_SIZE = "optimizer.lr", "data.batch_size"
POWER_OF_RULE = {"linear": 1.0, "sqrt": 0.5}


@dataclass(frozen=True)
class Settings:
    """What `configs/hparams_search/optuna.yaml` explains key by key."""

    name: str
    folder: Path
    storage: str
    n_trials: int
    is_grid: bool  # every point is planned from the start
    objectives: tuple[tuple[str, str], ...]  # (metric, max or min)
    repeat_best: int
    repeat_seeds: int
    lr_rule: str
    lr_at_batch_size: int
    max_failures: int
    heartbeat_s: int
    grace_s: int
    seed: int  # of the sampler
    base_seed: int  # of the trainings

    @property
    def directions(self) -> list[StudyDirection]:
        """In Optuna's words."""
        return [StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE for _, mode in self.objectives]

    def tied(self, drawn: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The values to train with: the rate scaled with the batch, where that is asked for.

        The linear rule is that of Goyal et al. (2017, arXiv:1706.02677) for SGD, the square root that of Malladi et al.
        (2022, arXiv:2205.10287) for Adam and its kin.
        """
        if self.lr_rule == "none":
            return dict(drawn)
        lr, batch_size = drawn[LR], drawn[BATCH_SIZE]
        assert isinstance(lr, float)
        assert isinstance(batch_size, int)
        return {**drawn, LR: lr * (batch_size / self.lr_at_batch_size) ** POWER_OF_RULE[self.lr_rule]}


def read_settings(config: DictConfig) -> Settings:
    """Read and check a composed config.

    Raises:
        SearchError: what does not go together, and what to change.
    """
    if config.get("search") is None or "name" not in config.search:
        raise SearchError("no search is chosen: add hparams_search=optuna")
    search: Any = OmegaConf.to_container(config.search, resolve=True)
    settings = Settings(
        name=search["name"],
        folder=Path(search["folder"]).resolve(),
        storage=search["storage"],
        n_trials=search["n_trials"],
        is_grid=search["sampler"] is None,
        objectives=tuple((objective["metric"], objective["mode"]) for objective in search["objectives"]),
        repeat_best=search["repeat"]["best"],
        repeat_seeds=search["repeat"]["seeds"],
        lr_rule=search["lr_scaling"]["rule"],
        lr_at_batch_size=search["lr_scaling"]["at_batch_size"],
        max_failures=search["max_failures"],
        heartbeat_s=search["heartbeat_s"],
        grace_s=search["grace_s"],
        seed=search["seed"],
        base_seed=config.seed,
    )
    _check(settings, prunes=search["pruner"] is not None)
    return settings


def _check(settings: Settings, prunes: bool) -> None:
    check_url(settings.storage)
    if wrong := [mode for _, mode in settings.objectives if mode not in ("max", "min")]:
        raise SearchError(f"search.objectives has the mode {wrong[0]}: write max or min")
    several = len(settings.objectives) > 1
    if several and prunes:
        raise SearchError(
            "several objectives cannot be pruned, since no single value says which trial is behind: add "
            "hparams_search/pruner=none"
        )
    if several and settings.repeat_best:
        raise SearchError("several objectives have no best trials to repeat: set search.repeat.best=0")
    if settings.lr_rule not in ("none", *POWER_OF_RULE):
        raise SearchError(f"search.lr_scaling.rule={settings.lr_rule}: choose none, linear or sqrt")
    if settings.grace_s <= settings.heartbeat_s:
        raise SearchError(
            f"search.grace_s={settings.grace_s}: must be longer than search.heartbeat_s={settings.heartbeat_s}, or "
            "living workers are given up"
        )


def check_space(settings: Settings, space: Space) -> None:
    """Refuse a space that lacks what the settings speak of."""
    if settings.lr_rule == "none":
        return
    always = {parameter.name for parameter in space.parameters if not parameter.when}
    if missing := [name for name in (LR, BATCH_SIZE) if name not in always]:
        raise SearchError(
            f"search.lr_scaling.rule={settings.lr_rule} needs {missing[0]} in the search space: choose "
            "search_space=reference or another that has it, or search.lr_scaling.rule=none"
        )
