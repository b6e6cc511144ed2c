"""From a composed config to what determines a base model and a fine-tuning, every default written out."""

from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.bases.explicit import explicit
from dark_halo_scope.bases.fit import OF_THE_MACHINE
from dark_halo_scope.bases.modes import mode_named
from dark_halo_scope.bases.spec import BaseSpec, EarlyStop, SplitSpec
from dark_halo_scope.bases.tune_spec import Phase, Training, TuneSpec


class Learner(TypedDict):
    """What a base model and its fine-tunings have in common: fields of both specs."""

    data_fingerprint: str
    preprocessing: dict[str, Any]
    model: dict[str, Any]
    loss: dict[str, Any]
    precision: str


def learner_of(cfg: DictConfig, data_fingerprint: str, samples: dict[str, Any], precision: str) -> Learner:
    """What learns by a config, and from what.

    Args:
        cfg: The config.
        data_fingerprint: Of the dataset.
        samples: See `source.Source.samples`.
        precision: As the machine has settled it.
    """
    return {
        "data_fingerprint": data_fingerprint,
        "preprocessing": {"samples": samples, "normalise": _node(cfg, "transforms.normalise")},
        "model": _node(cfg, "model"),
        "loss": _loss(cfg),
        "precision": precision,
    }


def base_spec(cfg: DictConfig, groups: tuple[str, ...], learner: Learner) -> BaseSpec:
    """What determines the base model of a config."""
    stop = cfg.bases.early_stop
    return BaseSpec(
        **learner,
        groups=groups,
        split=SplitSpec(cfg.bases.val_fraction, cfg.bases.seed, cfg.bases.split_by),
        optimizer={"algorithm": _node(cfg, "optimizer"), "gradient_clip_val": cfg.trainer.gradient_clip_val},
        scheduler=_node(cfg, "scheduler"),
        augmentation=_augmentation(cfg),
        batch_size=cfg.data.batch_size,
        max_epochs=cfg.trainer.max_epochs,
        early_stop=EarlyStop(**stop) if stop else None,
        seed=cfg.seed,
    )


def tune_spec(
    cfg: DictConfig, target: str, division: dict[str, Any], base: BaseSpec | None, learner: Learner
) -> TuneSpec:
    """What determines the fine-tuning of a config."""
    mode = mode_named(cfg.finetune.mode)
    return TuneSpec(
        **learner,
        mode=mode.name,
        base=base.key() if base else None,
        target=target,
        division=division,
        budget=cfg.budget if mode.phases else None,
        training=training_of(cfg) if mode.phases else None,
    )


def training_of(cfg: DictConfig) -> Training:
    """How the fine-tuning of a config learns."""
    asked = cfg.finetune
    phases = {
        "all": Phase("all", asked.steps, asked.optimizer.lr),
        "head": Phase("head", asked.probe.steps, asked.probe.lr),
    }
    return Training(
        phases=tuple(phases[part] for part in mode_named(asked.mode).phases),
        n_val=asked.n_val,
        early_stop=EarlyStop(**asked.early_stop) if asked.early_stop else None,
        validate_every=asked.validate_every,
        batch_size=asked.batch_size,
        batch_norm=asked.batch_norm,
        layer_decay=asked.layer_decay,
        optimizer=_node(cfg, "finetune.optimizer"),
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        scheduler=_node(cfg, "finetune.scheduler"),
        augmentation=_augmentation(cfg),
        seed=asked.seed,
    )


def _node(cfg: DictConfig, path: str) -> dict[str, Any]:
    """A config node with every default written out."""
    node: Any = OmegaConf.to_container(OmegaConf.select(cfg, path), resolve=True)
    return explicit(node, path)


def _loss(cfg: DictConfig) -> dict[str, Any]:
    """Of the task, all that is not of the machine; what it is made of has nodes of its own."""
    return {name: value for name, value in _node(cfg, "task").items() if name not in (*OF_THE_MACHINE, "inject")}


def _augmentation(cfg: DictConfig) -> dict[str, Any] | None:
    if cfg.transforms.augment.get("use_augmentation") is False:
        return None
    return {name: _node(cfg, f"transforms.{name}") for name in ("augment", "inject") if name in cfg.transforms}
