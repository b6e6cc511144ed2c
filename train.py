"""Train one lens finder, or with -m many: python train.py experiment=lens_resnet18 (see --help)."""

from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dark_halo_scope.configuration import plain_errors, register_resolvers
from dark_halo_scope.processes import hold_lifeline

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float | dict[str, Any] | None:
    """Run one composed config; returns its metric, or to a search what became of the trial."""
    cfg.paths.run_dir = HydraConfig.get().runtime.output_dir
    if cfg.search.trial is not None:
        from dark_halo_scope.search.trial import run_trial

        return run_trial(cfg)
    if cfg.get("finetune") is not None:
        from dark_halo_scope.bases.run import run as customise

        return customise(cfg, tuple(HydraConfig.get().overrides.task))
    from dark_halo_scope.run import run  # imports torch: only once the config stands

    return run(cfg)


if __name__ == "__main__":
    hold_lifeline()
    with plain_errors():
        main()
